"""The lender: ready tasks are given out to those who ask, as far as the policies of their queues allow.

What is lent is never stored: who holds what is found out again by asking the workers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from distq.core import moves
from distq.core.policy import OPEN, POLICIES, Policy, RateWindow, pack_policy, unpack_policy
from distq.core.state import LedgerState
from distq.core.task import Holder, Task

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

    from distq.core.changes import Row
    from distq.core.queue import Queue
    from distq.core.registry import Registry


class Leasing(LedgerState):
    """The book, and who gives out what is ready in it."""

    def __init__(self, names: Registry) -> None:
        super().__init__(names)
        self.decided_policies: dict[Queue, Policy] = {}
        """Policies that the present cycle has decided."""
        self.fences = False
        """Whether a queue that has given something out has tasks that end with their leases."""
        self.unstored_leases: list[Task] = []
        """Fenced tasks that were leased since the last commit: it stores that, before they are handed over."""
        self._last_policy = POLICIES
        self._spent: dict[Queue, None] = {}
        """Queues with a rate that have given out something since the last commit, and ..."""
        self.limited: dict[Queue, None] = {}
        """... all queues with a rate that ever have."""

    # -- policies ------------------------------------------------------------------------------

    def set_policy(self, queue: Queue, own: Policy) -> None:
        """Let an operator's changes of a queue's policy take effect with this cycle."""
        if queue.policy_key is None:
            self._last_policy -= 1
            queue.policy_key = self._last_policy
        self.decided_policies[queue] = own

    def restore_policy(self, key: int, row: bytes, now: float) -> None:
        """Know again what an operator has changed of a queue, and what the queue has given out lately."""
        name, own, spent = unpack_policy(row)
        queue = self.registry.queue(name, lasts=False)
        queue.policy_key = key
        self._last_policy = min(self._last_policy, key)
        queue.set_policy(own)
        if queue.rate_window is not None:
            queue.rate_window.restore(spent, now)
            self.limited[queue] = None

    def policy_rows(self) -> Mapping[int, Row]:
        """What the store must keep of decided policies, and of what queues with a rate have given out."""
        changed = {**{queue: queue.own for queue in self._spent}, **self.decided_policies}
        rows: dict[int, Row] = {}
        for queue, own in changed.items():
            assert queue.policy_key is not None
            goes = own == OPEN and not queue.is_lasting
            rows[queue.policy_key] = None if goes else (pack_policy(queue.name, own, queue.rate_window), b"")
        return rows

    def apply_policies(self) -> None:
        """Let decided policies take effect."""
        self._spent.clear()
        for queue, own in self.decided_policies.items():
            queue.set_policy(own)
            if queue.rate_window is not None:
                self.limited[queue] = None
            else:
                self.limited.pop(queue, None)
            if queue.offers:
                self.ready_queues[queue] = None
        self.decided_policies.clear()

    def discard_unused(self, now: float) -> list[int]:
        """Let go of names that were not used since the last time; returns the keys of rows that are not needed."""
        for queue in [queue for queue in self.limited if queue.unused(now)]:
            del self.limited[queue]
        self.offering()
        return self.registry.discard_unused(now)

    def readmit(self, names: Collection[str] | None = None) -> None:
        """A worker has come that may take what was set aside: all, or tasks of these names."""
        takers = self.registry.eligibility
        if names is None:
            takers.generation += 1
        for queue in list(takers.set_aside):
            if queue.readmit(names):
                self.ready_queues[queue] = None
            if not queue.set_aside:
                del takers.set_aside[queue]

    # -- lease ---------------------------------------------------------------------------------

    def lease(
        self, holder: Holder, queues: Iterable[Queue], wanted: Callable[[str], bool], want: int, now: float
    ) -> list[Task]:
        """Give `holder` up to `want` ready tasks of these queues whose names are `wanted`.

        A task that was lost goes only to a holder that holds nothing else, which then gets nothing beside it.
        """
        leased: list[Task] = []
        busy = bool(holder.held)
        if busy and any(task.lost for task in holder.held.values()):
            return leased
        for queue in queues:
            if queue not in self.ready_queues:
                continue
            taken = self._take(queue, holder, wanted, want - len(leased), now)
            if (leased or busy) and taken and taken[0].lost:
                self.requeue_first(taken)
                continue
            leased += taken
            if not queue.offers:  # what is paused or set aside comes back by itself
                del self.ready_queues[queue]
            elif taken:
                self.ready_queues[queue] = self.ready_queues.pop(queue)
            if taken:
                self._hand_over(queue, taken, holder, now)
                if len(leased) >= want or taken[0].lost:
                    break
        return leased

    def offering(self) -> list[Queue]:
        """The queues that have something on offer."""
        for queue in [queue for queue in self.ready_queues if not queue.offers]:
            del self.ready_queues[queue]
        return list(self.ready_queues)

    def take_back(self, tasks: Sequence[Task]) -> None:
        """Undo the lease of tasks that were not handed over: they are first in line again."""
        for task in tasks:
            self._detach(task)
            moves.move(task, moves.GIVE_BACK)
            self.ready_queues[task.envelope.queue] = None
        self.requeue_first(reversed(tasks))

    def _take(self, queue: Queue, holder: Holder, wanted: Callable[[str], bool], want: int, now: float) -> list[Task]:
        if queue.policy.limits:
            want = min(want, queue.allowance(now))
        if want <= 0:
            return []
        if not self.registry.costly:
            return queue.take(wanted, want, holder.labels)
        room = holder.room()
        if room <= 0:
            return []
        want = want if holder.executor_slots == 1 else min(want, room)
        return queue.take(wanted, want, holder.labels, holder.slots, room)

    def _spend(self, queue: Queue, window: RateWindow, count: int, now: float) -> None:
        """Note at a queue with a rate that it has given out so many; the next commit stores that."""
        window.spend(count, now)
        self.limited[queue] = None
        if queue.policy_key is None:
            self.set_policy(queue, queue.own)
        else:
            self._spent[queue] = None

    def _hand_over(self, queue: Queue, taken: list[Task], holder: Holder, now: float) -> None:
        if queue.rate_window is not None:
            self._spend(queue, queue.rate_window, len(taken), now)
        held = holder.held
        for task in taken:
            moves.move(task, moves.LEASE)
            task.delivery += 1
            task.holder = holder
            task.leased_at = now
            held[task.task_key] = task
            task.envelope.counters.wait.observe(now - task.state_since_at)
            task.state_since_at = now
        if queue.fences:
            self.fences = True
            self.unstored_leases += [task for task in taken if task.lease_bound]
            taken = [task for task in taken if not task.lease_bound]  # whose leases are stored later
        self.lease_journal.add(now, taken)
