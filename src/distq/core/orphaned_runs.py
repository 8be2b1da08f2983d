"""Lease-bound tasks that have ended while an executor runs them: cancelled, or settled by an earlier delivery.

Until the executor stops, the concurrency limits of its key and of its queue count the task, because they count
the tasks that really run. The row of such a task shows this (`head.RUNS_ON`) to a restarted master; when the executor
has stopped, the next commit updates the row.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Container

    from distq.core.task import Holder, Task


class OrphanedRuns:
    """The ended tasks that executors still run, and the holders that run them."""

    __slots__ = ("_holders", "ended_tasks", "running")

    def __init__(self) -> None:
        self.running: dict[tuple[int, int], tuple[Task, Holder]] = {}
        """Task and holder by key and delivery."""
        self._holders: dict[Holder, set[tuple[int, int]]] = {}
        self.ended_tasks: list[Task] = []
        """Tasks whose executors have stopped since the last commit; the next commit stops counting them."""

    def add(self, task: Task, holder: Holder) -> None:
        """Add a task that has ended while `holder` runs it."""
        run = task.task_key, task.delivery
        self.running[run] = task, holder
        self._holders.setdefault(holder, set()).add(run)
        task.envelope.queue.orphaned_count += 1

    def is_running(self, task: Task) -> bool:
        """Whether an executor still ran an ended task at the last commit."""
        return (task.task_key, task.delivery) in self.running or task in self.ended_tasks

    def settled(self, task_key: int, delivery: int) -> None:
        """Note that the executor of a run has settled it."""
        if (found := self.running.pop((task_key, delivery), None)) is not None:
            task, holder = found
            self.ended_tasks.append(task)
            self._forget((task_key, delivery), holder)

    def reassign(self, task_key: int, delivery: int, holder: Holder) -> None:
        """Move a run to another holder: its executor has reconnected."""
        if (found := self.running.get((task_key, delivery))) is not None:
            task, before = found
            self._forget((task_key, delivery), before)
            self.running[task_key, delivery] = task, holder
            self._holders.setdefault(holder, set()).add((task_key, delivery))

    def holder_ended(self, holder: Holder, kept: Container[tuple[int, int]] = ()) -> None:
        """Note that a holder has stopped all its runs, except these keys and deliveries."""
        for run in self.runs_of(holder):
            if run not in kept:
                self.settled(*run)

    def pass_on(self, holder: Holder, other: Holder) -> None:
        """Move all runs of one holder to another."""
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
        """Key and delivery of each run of this holder."""
        return list(self._holders.get(holder, ()))
