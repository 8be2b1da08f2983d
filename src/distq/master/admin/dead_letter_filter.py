"""Filters of dead letters: by queue, name, error and the time at which the tasks died."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
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
EXAMINED_PER_CYCLE: Final = 2_000
"""Maximum dead letters that one cycle examines: about a millisecond."""
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
    """Finds the dead letters that meet the conditions, in slices, so that a million of them delay no other request.

    It reads missing causes from the store if errors are needed. `mark` is the key of a dead letter: `older` is then the
    number of those found that died before it.
    """

    def __init__(self, choice: DeadLetterChoice, *, needs_errors: bool = False, mark: int | None = None) -> None:
        self.found: list[int] = []
        """Keys of the dead letters that meet the conditions, the oldest first."""
        self.counts: Counter[tuple[str, str, str]] = Counter()
        """Their numbers by queue, name and error, if errors are needed."""
        self.older = 0
        self._choice = choice
        self._needs_errors = needs_errors
        self._mark = mark
        self._left: list[int] | None = None
        """Keys that are not examined, the oldest last; None before the first slice."""
        self._slice: list[Task] = []
        """Tasks of the present slice that meet the conditions which need no causes."""
        self._unknown: list[Task] = []
        """Those of them whose causes only the store has."""

    def knows_enough(self, cycle: Cycle, request: Request) -> bool:
        """Whether the search is over; if not, call this again in the next cycle."""
        dead = cycle.ledger.state.dead
        if self._left is None:
            self._left = list(dead)
            if self._choice == DeadLetterChoice() and not self._needs_errors:
                self.found, self._left = self._left, []
                self.older = 0 if self._mark is None else self.found.index(self._mark)
            self._left.reverse()
        is_examined = False
        while not self._unknown:
            self._note_slice()
            if not self._left:
                return True
            if is_examined:
                return False
            self._examine(dead)
            is_examined = True
        chunk = self._unknown[-READ_PER_CYCLE:]
        del self._unknown[-READ_PER_CYCLE:]
        cycle.read(request, [task.task_key for task in chunk], partial(learn, chunk))
        return False

    def _examine(self, dead: Mapping[int, Task]) -> None:
        """Examine the next slice; the mark, if it is there, begins a slice of its own."""
        assert self._left
        keys = self._left[: -EXAMINED_PER_CYCLE - 1 : -1]
        if keys[0] == self._mark:
            self.older = len(self.found)
        elif self._mark in keys:
            del keys[keys.index(self._mark) :]
        del self._left[-len(keys) :]
        tasks = (dead[task_key] for task_key in keys if task_key in dead)
        self._slice = [task for task in tasks if self._choice.may_be(task)]
        if self._needs_errors or self._choice.error is not None:
            self._unknown = [task for task in self._slice if task.causes is None]

    def _note_slice(self) -> None:
        for task in self._slice:
            if self._choice.is_meant(task):
                self.found.append(task.task_key)
                if self._needs_errors:
                    self.counts[task.envelope.queue.name, task.envelope.name, error_of(task)] += 1
        self._slice = []


def learn(tasks: list[Task], bodies: list[bytes | None]) -> None:
    """Read the causes of dead letters from their bodies: after a restart, only the bodies have them."""
    for task, body in zip(tasks, bodies, strict=True):
        if body is not None:
            task.causes = unpack_dead(body).causes
