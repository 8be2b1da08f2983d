"""Discards task names and queues that have not been used for an hour, with their counters."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from distq.master.cycle.requests import Request

if TYPE_CHECKING:
    from distq.master.cycle.requests import Cycle

NAMES_KEPT_S: Final = 3600.0
"""Maximum seconds for which the master keeps an unused name and its metric series; it keeps them for at least half of
that, because it looks twice in that time."""


class DiscardUnused(Request):
    """Discards what was not used since the last run; due every NAMES_KEPT_S / 2."""

    def answer(self, cycle: Cycle, now: float) -> None:  # noqa: D102 - as Request
        for row_key in cycle.ledger.discard_unused(now):
            cycle.keep_row(row_key, None)
        cycle.ask_at(now + NAMES_KEPT_S / 2, self)
