"""After a restart of the master: until when executors may reclaim the tasks that they held before it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from distq.master.cycle.requests import LoseLeases

if TYPE_CHECKING:
    from distq.core.task import Holder
    from distq.master.cycle.requests import Cycle


def end_unless_reclaimed(cycle: Cycle, absent: Holder, reclaim_s: float, lease_s: float) -> None:
    """After a restart: what was held before goes to others when its executors have had time to come back.

    Their workers were heard of by the master before, until a moment ago perhaps: what is fenced runs nowhere else, and
    what has ended and may run on keeps its place, until their leases have ended.
    """
    for holder, wait_s in ((cycle.ledger.detach_holder(absent), max(lease_s, reclaim_s)), (absent, reclaim_s)):
        if cycle.ledger.holds(holder):
            cycle.ask_at(cycle.clock.now() + wait_s, LoseLeases(holder, "restart", "", running=0))
