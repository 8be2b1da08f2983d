"""Stores leases that the store has refused together with others, in halves, until only the refused one is left."""

from __future__ import annotations

from typing import TYPE_CHECKING

from distq.master.cycle.requests import REFUSED_PAUSE_S, Request

if TYPE_CHECKING:
    from collections.abc import Sequence

    from distq.core.ports import CommitRefused
    from distq.core.task import Task
    from distq.master.cycle.requests import Cycle


class StoreLeases(Request):
    """Stores the leases of some tasks, and that the executors of other tasks have stopped."""

    __slots__ = ("_leases", "_stopped")
    only_ends = True

    def __init__(self, leases: list[Task], stopped: list[Task]) -> None:
        super().__init__()
        self._leases = leases
        self._stopped = stopped

    def weight(self) -> tuple[int, int]:  # noqa: D102 - as Request
        return len(self._leases) + len(self._stopped), 0

    def decide(self, cycle: Cycle, now: float) -> bool:  # noqa: ARG002, D102 - as Request
        cycle.ledger.put_unstored_leases(self._leases, self._stopped)
        return True

    def parts(self) -> Sequence[Request]:  # noqa: D102 - as Request
        leases, stopped = self._leases, self._stopped
        if leases and stopped:
            return StoreLeases(leases, []), StoreLeases([], stopped)
        middle = len(leases or stopped) // 2
        if not middle:
            return ()
        return (
            StoreLeases(leases[:middle], stopped[:middle]),
            StoreLeases(leases[middle:], stopped[middle:]),
        )

    def answer(self, cycle: Cycle, now: float) -> None:
        """Reply nothing: no peer waits."""

    def put_back(self, cycle: Cycle, exc: CommitRefused, now: float) -> None:  # noqa: D102 - as Request
        if exc.is_general:
            cycle.refused.ask_suspect(self, 0, now + REFUSED_PAUSE_S)
        else:
            cycle.refused.ask_later(self, exc, now)
