"""Stores what is due for tasks, such as expiries, that the store has refused together, in halves."""

from __future__ import annotations

from typing import TYPE_CHECKING

from distq.master.cycle.requests import REFUSED_PAUSE_S, Request

if TYPE_CHECKING:
    from collections.abc import Sequence

    from distq.core.ports import CommitRefused
    from distq.core.sweeper import Sweeper
    from distq.core.task import Task
    from distq.master.cycle.requests import Cycle


class StoreDue(Request):
    """Stores what is due for some tasks, which the sweeper leaves to this request meanwhile."""

    __slots__ = ("_reason", "_sweeper", "_tasks")

    def __init__(self, sweeper: Sweeper, tasks: Sequence[Task]) -> None:
        super().__init__()
        self._sweeper = sweeper
        self._tasks = tasks
        self._reason = ""
        """The store's text of the newest refusal of this request alone."""

    def weight(self) -> tuple[int, int]:  # noqa: D102 - as Request
        return len(self._tasks), 0

    def decide(self, cycle: Cycle, now: float) -> bool:  # noqa: ARG002, D102 - as Request
        return self._sweeper.decide_apart(self._tasks, now)

    def parts(self) -> Sequence[Request]:  # noqa: D102 - as Request
        middle = len(self._tasks) // 2
        if not middle:
            return ()
        return StoreDue(self._sweeper, self._tasks[:middle]), StoreDue(self._sweeper, self._tasks[middle:])

    def answer(self, cycle: Cycle, now: float) -> None:  # noqa: ARG002 - no peer waits
        """Leave the tasks to the sweeper again: what was due for them is stored."""
        self._sweeper.end_apart(self._tasks)

    def refusal_of(self, task_key: int) -> str:  # noqa: D102 - as Request
        return self._reason if any(task.task_key == task_key for task in self._tasks) else ""

    def put_back(self, cycle: Cycle, exc: CommitRefused, now: float) -> None:  # noqa: D102 - as Request
        if exc.is_general:
            cycle.refused.ask_suspect(self, 0, now + REFUSED_PAUSE_S)
        else:
            self._reason = str(exc)
            cycle.refused.ask_later(self, exc, now)
