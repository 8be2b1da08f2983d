"""Tasks that come after others: a callback after a group, a stage of a chain after the one before it.

What comes first has keys in a row, given by the same submit. Whoever comes after them is held until all have ended,
and the master counts: an end counts once, however often an answer to it is sent. It is nowhere stored how many are
missing; a restarted master counts again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from distq.core.constraints import FAIL, RUN, DependsOn
from distq.core.failure import pack_failure_text
from distq.core.states import CANCELLED, DEAD, EXPIRED, LIVE_STATES, STATE_NAMES, SUCCEEDED
from distq.core.task import Task
from distq.core.task_ids import id_text

UPSTREAM: Final = "before"
"""Reason of a task's end that is not its own: one before it has failed."""
_WORDS: Final = {DEAD: "has failed", CANCELLED: "was cancelled", EXPIRED: "has expired"}
_KIND: Final = "TaskBefore"
_FOR_GOOD: Final = (SUCCEEDED, CANCELLED, EXPIRED)


class Dependencies:
    """Who comes after whom, among all tasks."""

    def __init__(self) -> None:
        self.followers: dict[int, list[Task]] = {}
        """By task: who comes after it and has not ended for good. Until then its result stays."""
        self.pending: dict[int, int] = {}
        """By task that is held: after how many tasks it comes that have not ended."""
        self.doomed: dict[int, Task] = {}
        """Tasks that are held and will never run, because one before them has failed; the next commit ends them."""

    def add(self, task: Task, after: DependsOn) -> None:
        """A task that comes after others is there."""
        for key in after.keys:
            self.followers.setdefault(key, []).append(task)

    def waits(self, task: Task, after: DependsOn, tasks: Mapping[int, Task]) -> bool:
        """Whether a task that is ready otherwise must be held, and is from now on."""
        states = [STATE_IF_UNKNOWN if (one := tasks.get(key)) is None else one.state for key in after.keys]
        if after.policy != RUN and any(state not in LIVE_STATES and state != SUCCEEDED for state in states):
            self.doomed[task.task_key] = task
            return True
        if missing := sum(state in LIVE_STATES for state in states):
            self.pending[task.task_key] = missing
        return bool(missing)

    def holds(self, task: Task) -> bool:
        """Whether the task is held for this reason."""
        return task.task_key in self.pending or task.task_key in self.doomed

    def discard_one(self, task: Task) -> None:
        """A task is held no more."""
        self.pending.pop(task.task_key, None)
        self.doomed.pop(task.task_key, None)

    def ended(self, task: Task) -> Iterator[Task]:
        """A task has come to its end; gives those after it that have waited for it last."""
        for follower in self.followers.get(task.task_key, ()):
            missing = self.pending.get(follower.task_key)
            if missing is None:
                continue
            if task.state != SUCCEEDED and _after(follower).policy != RUN:
                del self.pending[follower.task_key]
                self.doomed[follower.task_key] = follower
            elif missing > 1:
                self.pending[follower.task_key] = missing - 1
            else:
                del self.pending[follower.task_key]
                yield follower

    def requeued(self, task: Task, tasks: Mapping[int, Task]) -> None:
        """A dead letter is to be run again: those after it that are held wait for it too."""
        for follower in self.followers.get(task.task_key, ()):
            if follower.task_key in self.pending:
                self.pending[follower.task_key] += 1
            elif self.doomed.pop(follower.task_key, None) is not None:
                self.waits(follower, _after(follower), tasks)

    def forget(self, task: Task, after: DependsOn, tasks: Mapping[int, Task]) -> Iterator[Task]:
        """A task has ended for good; gives those before it whose results nobody needs any more."""
        for key in after.keys:
            followers = self.followers.get(key, [])
            if task in followers:
                followers.remove(task)
                if not followers:
                    del self.followers[key]
                    if (before := tasks.get(key)) is not None and before.state in _FOR_GOOD:
                        yield before


STATE_IF_UNKNOWN: Final = STATE_NAMES.index("gone")


def upstream_failure(task: Task, tasks: Mapping[int, Task]) -> str:
    """Why a task is not run although it waits for nothing: a phrase for its history."""
    for key in _after(task).keys:
        before = tasks.get(key)
        if before is None or before.state not in (*LIVE_STATES, SUCCEEDED):
            word = "is gone" if before is None else _WORDS[before.state]
            cause = f": {before.causes[-1]}" if before is not None and before.causes else ""
            return f"{_KIND}: {id_text(key)} {word}{cause}"
    raise AssertionError("nothing before it has failed")


def upstream_error(cause: str) -> bytes:
    """The error of a task that died of such a cause, as an executor would tell it."""
    return pack_failure_text(_KIND, cause.removeprefix(f"{_KIND}: "))


def becomes_dead_letter(task: Task) -> bool:
    """Whether a task becomes a dead letter when one before it has failed; otherwise it is cancelled."""
    return _after(task).policy == FAIL


def _after(task: Task) -> DependsOn:
    after = task.constraints.depends_on
    assert after is not None
    return after
