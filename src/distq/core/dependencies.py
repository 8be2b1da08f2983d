"""Dependencies: a callback waits for a group of tasks, and a stage of a chain for the previous stage.

The dependencies of a task have consecutive keys from one submit. The task is held until all of them have ended; each
end counts once, even if an executor settles it again. The store does not keep the number of dependencies that have not
ended; a restarted master counts them again.
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
"""Reason of the end of a task whose dependency has failed."""
_ENDS: Final = {DEAD: "has failed", CANCELLED: "was cancelled", EXPIRED: "has expired"}
_KIND: Final = "TaskBefore"
_FOR_GOOD: Final = (SUCCEEDED, CANCELLED, EXPIRED)


class Dependencies:
    """The dependencies of all tasks."""

    def __init__(self) -> None:
        self.followers: dict[int, list[Task]] = {}
        """By task key: the tasks that depend on it and have not ended for good; its result is kept until they have."""
        self.pending: dict[int, int] = {}
        """By key of a held task: the number of its dependencies that have not ended."""
        self.failed_upstream: dict[int, Task] = {}
        """By key: held tasks with a failed dependency; the next commit ends them."""

    def add(self, task: Task, depends_on: DependsOn) -> None:
        """Add a task that depends on others."""
        for task_key in depends_on.keys:
            self.followers.setdefault(task_key, []).append(task)

    def waits(self, task: Task, depends_on: DependsOn, tasks: Mapping[int, Task]) -> bool:
        """Hold a task if its dependencies have not ended; True if it is held."""
        states = [
            STATE_IF_UNKNOWN if (one := tasks.get(task_key)) is None else one.state for task_key in depends_on.keys
        ]
        if depends_on.policy != RUN and any(state not in LIVE_STATES and state != SUCCEEDED for state in states):
            self.failed_upstream[task.task_key] = task
            return True
        if missing := sum(state in LIVE_STATES for state in states):
            self.pending[task.task_key] = missing
        return bool(missing)

    def is_waiting(self, task: Task) -> bool:
        """Whether the task is held for its dependencies."""
        return task.task_key in self.pending or task.task_key in self.failed_upstream

    def discard_one(self, task: Task) -> None:
        """Forget that a task is held."""
        self.pending.pop(task.task_key, None)
        self.failed_upstream.pop(task.task_key, None)

    def ended(self, task: Task) -> Iterator[Task]:
        """Count the end of a task; yields its followers that wait for no other task."""
        for follower in self.followers.get(task.task_key, ()):
            missing = self.pending.get(follower.task_key)
            if missing is None:
                continue
            if task.state != SUCCEEDED and _depends_on(follower).policy != RUN:
                del self.pending[follower.task_key]
                self.failed_upstream[follower.task_key] = follower
            elif missing > 1:
                self.pending[follower.task_key] = missing - 1
            else:
                del self.pending[follower.task_key]
                yield follower

    def requeued(self, task: Task, tasks: Mapping[int, Task]) -> None:
        """Let the held followers of a requeued dead letter wait for it again."""
        for follower in self.followers.get(task.task_key, ()):
            if follower.task_key in self.pending:
                self.pending[follower.task_key] += 1
            elif self.failed_upstream.pop(follower.task_key, None) is not None:
                self.waits(follower, _depends_on(follower), tasks)

    def forget(self, task: Task, depends_on: DependsOn, tasks: Mapping[int, Task]) -> Iterator[Task]:
        """Forget a task that has ended for good; yields its dependencies whose results no task needs any longer."""
        for task_key in depends_on.keys:
            followers = self.followers.get(task_key, [])
            if task in followers:
                followers.remove(task)
                if not followers:
                    del self.followers[task_key]
                    if (upstream := tasks.get(task_key)) is not None and upstream.state in _FOR_GOOD:
                        yield upstream


STATE_IF_UNKNOWN: Final = STATE_NAMES.index("gone")


def upstream_failure(task: Task, tasks: Mapping[int, Task]) -> str:
    """Which dependency of a task has failed, and how: a phrase for the task's history."""
    for task_key in _depends_on(task).keys:
        upstream = tasks.get(task_key)
        if upstream is None or upstream.state not in (*LIVE_STATES, SUCCEEDED):
            end = "is gone" if upstream is None else _ENDS[upstream.state]
            cause = f": {upstream.causes[-1]}" if upstream is not None and upstream.causes else ""
            return f"{_KIND}: {id_text(task_key)} {end}{cause}"
    raise AssertionError("no dependency has failed")


def upstream_error(cause: str) -> bytes:
    """The error of a task that ends for this cause, in the form that an executor sends."""
    return pack_failure_text(_KIND, cause.removeprefix(f"{_KIND}: "))


def becomes_dead_letter(task: Task) -> bool:
    """Whether a task becomes a dead letter when a dependency has failed; otherwise it is cancelled."""
    return _depends_on(task).policy == FAIL


def _depends_on(task: Task) -> DependsOn:
    depends_on = task.constraints.depends_on
    assert depends_on is not None
    return depends_on
