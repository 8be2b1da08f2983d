"""The policies of all queues: the changes by operators, the rows in the store, and the rates."""

from __future__ import annotations

from typing import TYPE_CHECKING

from distq.core.policy import OPEN, POLICIES, Policy, pack_policy, unpack_policy
from distq.core.states import READY

if TYPE_CHECKING:
    from collections.abc import Mapping

    from distq.core.policy import RateWindow
    from distq.core.ports import Row
    from distq.core.queue import Queue
    from distq.core.registry import Registry
    from distq.core.task import Task


class QueuePolicies:
    """Decides, stores and applies the operators' policies, and stores the leases of queues with a rate."""

    def __init__(self, registry: Registry, ready_queues: dict[Queue[Task], None]) -> None:
        self.decided: dict[Queue[Task], Policy] = {}
        """Policies that the present cycle has decided."""
        self.limited: dict[Queue[Task], None] = {}
        """Queues with a rate that have leased tasks."""
        self._registry = registry
        self._ready_queues = ready_queues
        self._last_key = POLICIES
        self.spent: dict[Queue[Task], None] = {}
        """Queues with a rate that have leased tasks since the last commit."""

    def set_policy(self, queue: Queue[Task], own: Policy) -> None:
        """Decide that a queue's operator policy becomes `own` with this cycle."""
        if queue.policy_key is None:
            self._last_key -= 1
            queue.policy_key = self._last_key
        self.decided[queue] = own

    def restore(self, row_key: int, row: bytes, now: float) -> None:
        """Restore a queue's operator policy from the store, and the recent leases of the queue."""
        name, own, spent = unpack_policy(row)
        queue = self._registry.queue(name, lasts=False, stored=True)
        queue.policy_key = row_key
        self._last_key = min(self._last_key, row_key)
        queue.set_policy(own)
        if queue.rate_window is not None:
            queue.rate_window.restore(spent, now)
            self.limited[queue] = None

    def spend(self, queue: Queue[Task], window: RateWindow, count: int, now: float) -> None:
        """Count tasks that a queue with a rate has leased; the next commit stores the count."""
        window.spend(count, now)
        self.limited[queue] = None
        if queue.policy_key is None:
            self.set_policy(queue, queue.own)
        else:
            self.spent[queue] = None

    def rows(self) -> Mapping[int, Row]:
        """The rows of decided policies, and of queues with a rate that have leased tasks."""
        changed = {**{queue: queue.own for queue in self.spent}, **self.decided}
        rows: dict[int, Row] = {}
        for queue, own in changed.items():
            assert queue.policy_key is not None
            is_dropped = own == OPEN and not queue.is_lasting
            rows[queue.policy_key] = None if is_dropped else (pack_policy(queue.name, own, queue.rate_window), b"")
        return rows

    def apply(self) -> None:
        """Apply the decided policies."""
        self.spent.clear()
        for queue, own in self.decided.items():
            queue.set_policy(own)
            if queue.rate_window is not None:
                self.limited[queue] = None
            else:
                self.limited.pop(queue, None)
            if queue.offers:
                self._ready_queues[queue] = None
        self.decided.clear()

    def undo(self, before: Mapping[Queue[Task], Policy] | None) -> None:
        """Restore the decided policies of a savepoint."""
        self.decided.clear()
        self.decided.update(before or {})

    def discard_unused(self, now: float) -> None:
        """Forget the rates of queues that nothing uses."""
        for queue in [queue for queue in self.limited if queue.unused(now)]:
            del self.limited[queue]

    def expire_spent(self, now: float) -> None:
        """Forget the leases that are older than the period of their queue's rate."""
        for queue in self.limited:
            if queue.rate_window is not None:
                queue.rate_window.allowance(now)

    def shift_clock(self, by_s: float) -> None:
        """Move the instants of the rates with the clock, which was set by `by_s`: a period is a duration."""
        for queue in self.limited:
            if queue.rate_window is not None:
                queue.rate_window.shift(by_s)

    def opens_at(self) -> list[float | None]:
        """When each queue with a rate and ready tasks may lease its next task; None for immediately."""
        return [queue.rate_window.opens_at() for queue in self.limited if queue.rate_window and queue.counts[READY]]
