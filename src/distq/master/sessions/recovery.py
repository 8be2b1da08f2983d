"""The time in which executors may reclaim their tasks after a restart of the master."""

from __future__ import annotations

from typing import TYPE_CHECKING

from distq.master.cycle.requests import LoseLeases

if TYPE_CHECKING:
    from distq.core.task import Holder
    from distq.master.cycle.requests import Cycle


def end_unless_reclaimed(cycle: Cycle, absent: Holder, reclaim_s: float, lease_s: float) -> None:
    """After a restart, lease the tasks to other executors if their own do not reclaim them within `reclaim_s`.

    The previous master may have renewed the leases just before it stopped. Until they have ended, a lease-bound task
    runs nowhere else, and a task that has ended but may still run keeps its place.
    """
    for holder, wait_s in ((cycle.ledger.detach_holder(absent), max(lease_s, reclaim_s)), (absent, reclaim_s)):
        if cycle.ledger.holds(holder):
            cycle.ask_at(cycle.clock.now() + wait_s, LoseLeases(holder, "restart", "", running=0))
