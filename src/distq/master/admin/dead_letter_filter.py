"""Filters of dead letters: by queue, name, error and the time at which the tasks died."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from distq.core.head import unpack_dead
from distq.core.ranges import shown
from distq.master.admin.queue_limits import check_queue
from distq.wire.errors import BadCall

if TYPE_CHECKING:
    from distq.core.registry import Registry
    from distq.core.task import Task
    from distq.master.cycle.requests import Cycle, Request

READ_PER_CYCLE: Final = 100
"""Maximum bodies of dead letters that one cycle reads for their causes, so that it delays no other request."""
LOST, TIMEOUT = "lost", "timeout"
"""Values that replace an error's class: the task's executors died, or the task exceeded its time limit."""


class DeadLetterChoice(NamedTuple):
    """The conditions of an operator's request; None is no condition."""

    queue: str | None = None
    name: str | None = None
    error: str | None = None
    """The class of the last attempt's exception, without its module; or `lost` or `timeout`."""
    since_at: float | None = None
    until_at: float | None = None

    def may_be(self, task: Task) -> bool:
        """Whether a dead letter meets the conditions that need no causes."""
        return (
            (self.queue is None or task.envelope.queue.name == self.queue)
            and (self.name is None or task.envelope.name == self.name)
            and (self.since_at is None or task.state_since_at >= self.since_at)
            and (self.until_at is None or task.state_since_at < self.until_at)
        )

    def is_meant(self, task: Task) -> bool:
        """Whether a dead letter, whose causes must be known if `error` is set, meets all conditions."""
        return self.may_be(task) and (self.error is None or error_of(task) == self.error)


def read_choice(registry: Registry, asked: Mapping[str, Any]) -> DeadLetterChoice:
    """Read the conditions of an operator's request; raises BadCall, also if there is no such queue."""
    texts = {field: asked.get(field) for field in ("queue", "name", "error")}
    for field, text in texts.items():
        if text is not None and not isinstance(text, str):
            raise BadCall(f"{field} is a text, not {shown(text)}.")
    instants = {field: asked.get(field) for field in ("since", "until")}
    for field, at in instants.items():
        if at is not None and not (type(at) in (int, float) and math.isfinite(at)):
            raise BadCall(f"{field} is a number of seconds since 1970, not {shown(at)}.")
    check_queue(registry, texts["queue"])
    error = texts["error"]
    if error is not None:
        texts["error"] = error.rpartition(":")[2].rpartition(".")[2]
    return DeadLetterChoice(**texts, since_at=instants["since"], until_at=instants["until"])


def error_of(task: Task) -> str:
    """Return the class of a dead letter's last error, `lost` or `timeout`; its causes must be known.

    A cause begins with the class, so the master need not unpickle the exception of a task.
    """
    if task.lost >= task.envelope.max_deliveries:
        return LOST
    cause = task.causes[-1] if task.causes else ""
    if cause.startswith("exceeded time limit"):
        return TIMEOUT
    return cause.partition(":")[0]


class DeadLetterFilter:
    """Finds the dead letters that meet the conditions; reads missing causes from the store if errors are needed."""

    def __init__(self, choice: DeadLetterChoice, *, needs_errors: bool = False) -> None:
        self.choice = choice
        self._needs_errors = needs_errors
        self._unknown: list[Task] | None = None

    def knows_enough(self, cycle: Cycle, request: Request) -> bool:
        """Whether `chosen` can be called; if not, the store is reading some of the missing causes: call this again."""
        if self.choice.error is None and not self._needs_errors:
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

    def chosen(self, cycle: Cycle, *, newest_first: bool = False, after: int | None = None) -> Iterator[Task]:
        """Yield the dead letters that meet the conditions; with `after`, those that follow the one with this key."""
        dead = cycle.ledger.state.dead
        tasks = reversed(dead.values()) if newest_first else iter(dead.values())
        if after is not None:
            next((task for task in tasks if task.task_key == after), None)
        for task in tasks:
            if self.choice.is_meant(task):
                yield task

    def counted(self, cycle: Cycle) -> list[tuple[str, str, str, int]]:
        """Count the dead letters that meet the conditions by queue, name and error, the largest count first."""
        counts = Counter((task.envelope.queue.name, task.envelope.name, error_of(task)) for task in self.chosen(cycle))
        return [(*key, count) for key, count in counts.most_common()]


def learn(tasks: list[Task], bodies: list[bytes | None]) -> None:
    """Read the causes of dead letters from their bodies: after a restart, only the bodies have them."""
    for task, body in zip(tasks, bodies, strict=True):
        if body is not None:
            task.causes = unpack_dead(body).causes
