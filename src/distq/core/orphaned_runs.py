"""Fenced tasks that have ended while they ran: cancelled, or settled by a run before.

Whoever runs one has been told, or will hear when it answers. Until then the task keeps its place, of its concurrency
key and of its queue: what really runs is what is limited. The row of such a task says so (`head.RUNS_ON`), for a
restarted master; the commit that frees the place says in the row that the task has stopped.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Container

    from distq.core.task import Holder, Task


class OrphanedRuns:
    """Those tasks, by who runs them."""

    __slots__ = ("_holders", "ended_tasks", "running")

    def __init__(self) -> None:
        self.running: dict[tuple[int, int], tuple[Task, Holder]] = {}
        """By key and delivery."""
        self._holders: dict[Holder, set[tuple[int, int]]] = {}
        self.ended_tasks: list[Task] = []
        """Those that run no more since the last commit: their places are free after the next one."""

    def add(self, task: Task, holder: Holder) -> None:
        """A task has ended that this holder runs."""
        run = task.task_key, task.delivery
        self.running[run] = task, holder
        self._holders.setdefault(holder, set()).add(run)
        task.envelope.queue.orphaned_count += 1

    def is_running(self, task: Task) -> bool:
        """Whether an executor runs a task on that has ended, as far as the last commit says."""
        return (task.task_key, task.delivery) in self.running or task in self.ended_tasks

    def answered(self, key: int, delivery: int) -> None:
        """Whoever ran that has answered for it."""
        if (found := self.running.pop((key, delivery), None)) is not None:
            task, holder = found
            self.ended_tasks.append(task)
            self._forget((key, delivery), holder)

    def reassign(self, key: int, delivery: int, holder: Holder) -> None:
        """Whoever runs that is another holder for us now: it has come back."""
        if (found := self.running.get((key, delivery))) is not None:
            task, before = found
            self._forget((key, delivery), before)
            self.running[key, delivery] = task, holder
            self._holders.setdefault(holder, set()).add((key, delivery))

    def holder_ended(self, holder: Holder, but: Container[tuple[int, int]] = ()) -> None:
        """A holder runs nothing any more, but for these keys and deliveries."""
        for run in self.runs_of(holder):
            if run not in but:
                self.answered(*run)

    def pass_on(self, holder: Holder, other: Holder) -> None:
        """What one holder runs is the other's now."""
        for run in self.runs_of(holder):
            self.running[run] = self.running[run][0], other
        if (runs := self._holders.pop(holder, None)) is not None:
            self._holders[other] = runs

    def _forget(self, run: tuple[int, int], holder: Holder) -> None:
        runs = self._holders[holder]
        runs.discard(run)
        if not runs:
            del self._holders[holder]

    def runs_of(self, holder: Holder) -> list[tuple[int, int]]:
        """What this holder runs of them, by key and delivery."""
        return list(self._holders.get(holder, ()))
