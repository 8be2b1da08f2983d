"""Leasing: the ledger leases ready tasks to executors, within the limits of their queues.

The store keeps no lease that is younger than a second: a restarted master asks the workers which tasks they hold.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from distq.core import moves
from distq.core.lease_journal import LeaseJournal

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Sequence

    from distq.core.queue import Queue
    from distq.core.queue_policies import QueuePolicies
    from distq.core.registry import Registry
    from distq.core.state import LedgerState
    from distq.core.task import Holder, Task


class Leasing:
    """Leases the ready tasks of a ledger's state."""

    def __init__(self, state: LedgerState, registry: Registry, policies: QueuePolicies) -> None:
        self.journal = LeaseJournal()
        self.has_lease_bound = False
        """Whether a queue that has leased tasks may have lease-bound tasks."""
        self.unstored: list[Task] = []
        """Lease-bound tasks leased since the last commit; the next commit stores their leases before they are sent."""
        self._state = state
        self._ready_queues = state.ready_queues
        self._registry = registry
        self._policies = policies

    def lease(
        self, holder: Holder, queues: Iterable[Queue[Task]], wanted: Callable[[str], bool], want: int, now: float
    ) -> list[Task]:
        """Lease to `holder` up to `want` ready tasks of these queues whose names are `wanted`.

        A holder gets a task that was lost before only while it holds nothing else, and then gets no other task.
        """
        leased: list[Task] = []
        busy = bool(holder.held)
        if busy and any(task.lost for task in holder.held.values()):
            return leased
        ready_queues = self._ready_queues
        for queue in queues:
            if queue not in ready_queues:
                continue
            chosen = self._take(queue, holder, wanted, want - len(leased), now)
            if (leased or busy) and chosen and chosen[0].lost:
                self._state.enqueue_first(chosen)
                continue
            leased += chosen
            if not queue.offers:  # paused lists and lists that are set aside make their queue ready again themselves
                del ready_queues[queue]
            elif chosen:
                ready_queues[queue] = ready_queues.pop(queue)
            if chosen:
                self._hand_over(queue, chosen, holder, now)
                if len(leased) >= want or chosen[0].lost:
                    break
        return leased

    def offering(self) -> list[Queue[Task]]:
        """The queues that offer a ready task; other queues are removed from the ready queues."""
        for queue in [queue for queue in self._ready_queues if not queue.offers]:
            del self._ready_queues[queue]
        return list(self._ready_queues)

    def take_back(self, tasks: Sequence[Task]) -> None:
        """Undo the leases of tasks that were not sent; the tasks become the first of their queues again."""
        for task in tasks:
            self._state.detach(task)
            moves.move(task, moves.RELEASE)
            self._ready_queues[task.envelope.queue] = None
        self._state.enqueue_first(reversed(tasks))

    def readmit(self, names: Collection[str] | None = None) -> None:
        """Offer tasks that were set aside again, all or only tasks of `names`, because a worker may take them now."""
        eligibility = self._registry.eligibility
        if names is None:
            eligibility.generation += 1
        for queue in list(eligibility.set_aside):
            if queue.readmit(names):
                self._ready_queues[queue] = None
            if not queue.set_aside:
                del eligibility.set_aside[queue]

    def _take(
        self, queue: Queue[Task], holder: Holder, wanted: Callable[[str], bool], want: int, now: float
    ) -> list[Task]:
        if queue.policy.limits:
            want = min(want, queue.allowance(now))
        if want <= 0:
            return []
        if not self._registry.costly:
            return queue.take(wanted, want, holder.labels)
        room = holder.free_slots()
        if room <= 0:
            return []
        want = want if holder.executor_slots == 1 else min(want, room)
        return queue.take(wanted, want, holder.labels, holder.slots, room)

    def _hand_over(self, queue: Queue[Task], chosen: list[Task], holder: Holder, now: float) -> None:
        if queue.rate_window is not None:
            self._policies.spend(queue, queue.rate_window, len(chosen), now)
        held = holder.held
        for task in chosen:
            moves.move(task, moves.LEASE)
            task.delivery += 1
            task.holder = holder
            task.leased_at = now
            held[task.task_key] = task
            task.envelope.counters.wait.observe(now - task.state_since_at)
            task.state_since_at = now
        if queue.may_bind_leases:
            self.has_lease_bound = True
            self.unstored += [task for task in chosen if task.lease_bound]
            chosen = [task for task in chosen if not task.lease_bound]  # the journal stores their leases later
        self.journal.add(now, chosen)
