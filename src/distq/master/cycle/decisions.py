"""What the present cycle has decided, until it is committed: whole requests, or nothing of one that fails."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from distq.core.savepoint import NOTHING_DECIDED, Savepoint

if TYPE_CHECKING:
    from distq.core.ports import Row
    from distq.master.cycle.requests import Cycle, Request


class AbsentRow:
    """Stands for a row that was not there."""


ABSENT: Final = AbsentRow()


class Decisions:
    """The decisions of one broker's cycle: the ledger's, and rows that are no tasks."""

    def __init__(self, cycle: Cycle) -> None:
        self.rows: dict[int, Row] = {}
        """Rows that are no tasks, for the next commit."""
        self._before: list[tuple[int, Row | AbsentRow]] = []
        """What `rows` had at a key before each change of it."""
        self._cycle = cycle

    def keep(self, key: int, row: Row) -> None:
        """Have the next commit keep a row that is no task."""
        self._before.append((key, self.rows.get(key, ABSENT)))
        self.rows[key] = row

    def clear(self) -> None:
        """Forget the rows: they are in a batch now."""
        self.rows.clear()
        self._before.clear()

    def decide(self, request: Request, now: float) -> bool:
        """Have a request decided; False if it is not to be answered in this cycle. One that fails leaves nothing."""
        before = self._cycle.ledger.savepoint(), len(self._before)
        try:
            if request.decide(self._cycle, now):
                return True
        except Exception as exc:  # noqa: BLE001 - see guard
            self._undo(request, *before)
            self._cycle.guard.failed(request, exc, "decide", now)
            return False
        if not request.parked:
            self._cycle.ask_again(request)
        return False

    def _undo(self, request: Request | None, savepoint: Savepoint, rows: int) -> None:
        """Take back what was decided since."""
        self._cycle.ledger.undo(savepoint)
        while len(self._before) > rows:
            key, row = self._before.pop()
            if isinstance(row, AbsentRow):
                self.rows.pop(key, None)
            else:
                self.rows[key] = row
        if request is not None:
            request.undo()

    def sweep(self, now: float) -> bool:
        """Note what is due; False if that fails: it is tried again after a pause."""
        before = self._cycle.ledger.savepoint()
        try:
            self._cycle.ledger.sweeper.sweep(now)
        except Exception as exc:  # noqa: BLE001 - see guard
            self._cycle.ledger.undo(before)
            self._cycle.guard.note("sweep", exc)
            return False
        return True

    def batch(self, decided: list[Request], now: float) -> tuple[dict[int, Row], list[Request]]:
        """What the store must keep, and the requests that asked for it; one whose part cannot be stored fails."""
        try:
            return self.packed(now), decided
        except Exception as exc:  # noqa: BLE001 - see guard
            self._cycle.guard.note("commit", exc)
        self._undo(None, NOTHING_DECIDED, 0)
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
        """The rows of all that was decided."""
        batch = self._cycle.ledger.batch(now)
        batch.update(self.rows)
        return batch
