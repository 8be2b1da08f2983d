"""What the master lets go of by itself, a while after it was last used: names of tasks, queues, and their counters."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from distq.master.cycle.requests import Request

if TYPE_CHECKING:
    from distq.master.cycle.requests import Cycle

NAMES_KEPT_S: Final = 3600.0
"""A name that was not used for so long goes at the latest, and its series with it; for half of it at the earliest."""


class DiscardUnused(Request):
    """Due every half of that time."""

    def answer(self, cycle: Cycle, now: float) -> None:  # noqa: D102 - as Request
        for key in cycle.ledger.discard_unused(now):
            cycle.keep_row(key, None)
        cycle.ask_at(now + NAMES_KEPT_S / 2, self)
