"""Which dead letters are meant: by queue, name, error and the time at which they died."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from distq.core.head import unpack_dead
from distq.wire.errors import BadCall

if TYPE_CHECKING:
    from distq.core.task import Task
    from distq.master.cycle.requests import Cycle, Request

READ_PER_CYCLE: Final = 100
"""So many dead letters' bodies are read in a cycle for the sake of their causes."""
LOST, TIMEOUT = "lost", "timeout"
"""What may stand for an error: its executors died; its time limit was over."""


class DeadLetterChoice(NamedTuple):
    """None is no condition."""

    queue: str | None = None
    name: str | None = None
    error: str | None = None
    """The class of the last attempt's exception, without its module; or `lost` or `timeout`."""
    since_at: float | None = None
    until_at: float | None = None

    def may_be(self, task: Task) -> bool:
        """Whether a dead letter is meant, as far as that can be said without its causes."""
        return (
            (self.queue is None or task.envelope.queue.name == self.queue)
            and (self.name is None or task.envelope.name == self.name)
            and (self.since_at is None or task.state_since_at >= self.since_at)
            and (self.until_at is None or task.state_since_at < self.until_at)
        )

    def is_meant(self, task: Task) -> bool:
        """Whether a dead letter whose causes are known is meant."""
        return self.may_be(task) and (self.error is None or error_of(task) == self.error)


def read_choice(asked: Mapping[str, Any]) -> DeadLetterChoice:
    """The choice in an operator's request; raises BadCall."""
    words = {word: asked.get(word) for word in ("queue", "name", "error")}
    for word, text in words.items():
        if text is not None and not isinstance(text, str):
            raise BadCall(f"{word} is a text.")
    moments = {word: asked.get(word) for word in ("since", "until")}
    for word, at in moments.items():
        if at is not None and not (type(at) in (int, float) and math.isfinite(at)):
            raise BadCall(f"{word} is a number of seconds since 1970.")
    error = words["error"]
    if error is not None:
        words["error"] = error.rpartition(":")[2].rpartition(".")[2]
    return DeadLetterChoice(**words, since_at=moments["since"], until_at=moments["until"])


def error_of(task: Task) -> str:
    """The class of a dead letter's last error, `lost` or `timeout`; its causes must be known.

    A cause begins with it: nobody unpickles here what a task has raised.
    """
    if task.lost >= task.envelope.max_deliveries:
        return LOST
    cause = task.causes[-1] if task.causes else ""
    if cause.startswith("exceeded time limit"):
        return TIMEOUT
    return cause.partition(":")[0]


class DeadLetterFilter:
    """Finds the dead letters that are meant; where an error is asked for, those whose causes are not known are read."""

    def __init__(self, choice: DeadLetterChoice, *, tells_errors: bool = False) -> None:
        self.choice = choice
        self._tells_errors = tells_errors
        self._unknown: list[Task] | None = None

    def knows_enough(self, cycle: Cycle, request: Request) -> bool:
        """Whether `chosen` can be asked; if not, a part of what is missing is being read: ask again."""
        if self.choice.error is None and not self._tells_errors:
            return True
        if self._unknown is None:
            dead = cycle.ledger.state.dead.values()
            self._unknown = [task for task in dead if task.causes is None and self.choice.may_be(task)]
        if not self._unknown:
            return True
        chunk = self._unknown[-READ_PER_CYCLE:]
        del self._unknown[-READ_PER_CYCLE:]
        cycle.read(request, [task.task_key for task in chunk], partial(learn, chunk))
        return False

    def chosen(self, cycle: Cycle, *, newest_first: bool = False) -> Iterator[Task]:
        """The dead letters that are meant."""
        dead = cycle.ledger.state.dead
        for task in reversed(dead.values()) if newest_first else dead.values():
            if self.choice.is_meant(task):
                yield task

    def counted(self, cycle: Cycle) -> list[tuple[str, str, str, int]]:
        """How many there are, by queue, name and error, the most first."""
        counts = Counter((task.envelope.queue.name, task.envelope.name, error_of(task)) for task in self.chosen(cycle))
        return [(*key, count) for key, count in counts.most_common()]


def learn(tasks: list[Task], bodies: list[bytes | None]) -> None:
    """Know the causes of dead letters again, which only their bodies have after a restart."""
    for task, body in zip(tasks, bodies, strict=True):
        if body is not None:
            task.causes = unpack_dead(body).causes
