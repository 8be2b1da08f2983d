"""Collects the decisions of one cycle until they are committed; a request that fails leaves none of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from distq.core.savepoint import NOTHING_DECIDED, Savepoint

if TYPE_CHECKING:
    from collections.abc import Callable

    from distq.core.ports import Row
    from distq.master.cycle.requests import Cycle, Request


class AbsentRow:
    """Marks a key that had no row."""


ABSENT: Final = AbsentRow()


class Decisions:
    """The decisions of the present cycle: those of the ledger, and rows that are no tasks."""

    def __init__(self, cycle: Cycle) -> None:
        self.rows: dict[int, Row] = {}
        """Rows that are no tasks, for the next commit."""
        self._before: list[tuple[int, Row | AbsentRow]] = []
        """The key and the earlier row of each change of `rows`, in order."""
        self._cycle = cycle

    def keep(self, row_key: int, row: Row) -> None:
        """Have the next commit keep a row that is no task."""
        self._before.append((row_key, self.rows.get(row_key, ABSENT)))
        self.rows[row_key] = row

    def clear(self) -> None:
        """Forget the rows, which are in a batch now."""
        self.rows.clear()
        self._before.clear()

    def decide(self, request: Request, now: float, ask_again: Callable[[Request], None] | None = None) -> bool:
        """Decide a request; False if this cycle does not answer it. A request that fails leaves no decision.

        `ask_again` receives a request whose rest a later decision must decide; without it the next cycle does that.
        """
        before = self._cycle.ledger.savepoint(), len(self._before)
        try:
            if request.decide(self._cycle, now):
                return True
        except Exception as exc:  # noqa: BLE001 - see guard
            self._undo(request, *before)
            self._cycle.guard.failed(request, exc, "decide", now)
            return False
        if not request.parked:
            (ask_again or self._cycle.ask_again)(request)
        return False

    def _undo(self, request: Request | None, savepoint: Savepoint, rows: int) -> None:
        """Take back the decisions since the savepoint, and all but the first `rows` changes of rows."""
        self._cycle.ledger.undo(savepoint)
        while len(self._before) > rows:
            row_key, row = self._before.pop()
            if isinstance(row, AbsentRow):
                self.rows.pop(row_key, None)
            else:
                self.rows[row_key] = row
        if request is not None:
            request.undo()

    def sweep(self, now: float) -> bool:
        """Decide what is due in the ledger; False if that fails, and then the cycle tries again after a pause."""
        before = self._cycle.ledger.savepoint()
        try:
            self._cycle.ledger.sweeper.sweep(now)
        except Exception as exc:  # noqa: BLE001 - see guard
            self._cycle.ledger.undo(before)
            self._cycle.guard.note("sweep", exc)
            return False
        return True

    def batch(self, decided: list[Request], now: float) -> tuple[dict[int, Row], list[Request]]:
        """The rows for the store and the requests behind them; a request whose rows cannot be packed fails."""
        try:
            return self.packed(now), decided
        except Exception as exc:  # noqa: BLE001 - see guard
            self._cycle.guard.note("commit", exc)
        self._undo(None, NOTHING_DECIDED, 0)
        self._cycle.refusals += 1  # requests of which a later cycle decides the rest decide everything again
        for request in reversed(decided):
            request.undo()
        good = []
        for request in decided:
            before = self._cycle.ledger.savepoint(), len(self._before)
            if not self.decide(request, now):
                continue
            try:
                self._cycle.ledger.pending.check_rows(before[0], now)
            except Exception as exc:  # noqa: BLE001 - see guard
                self._undo(request, *before)
                self._cycle.guard.failed(request, exc, "commit", now)
            else:
                good.append(request)
        before_sweep = self._cycle.ledger.savepoint()
        try:
            self.sweep(now)
            return self.packed(now), good
        except Exception as exc:  # noqa: BLE001 - see guard
            self._cycle.guard.note("commit", exc)
            self._cycle.ledger.undo(before_sweep)
            return self.packed(now), good

    def packed(self, now: float) -> dict[int, Row]:
        """The rows of all decisions."""
        batch = self._cycle.ledger.batch(now)
        batch.update(self.rows)
        return batch
