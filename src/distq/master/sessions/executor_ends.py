"""What a supervisor says of its executors' tasks: one ran beyond its limit, others shall not begin there."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from distq.core.task import Holder, Outcome
from distq.master.cycle.requests import LoseLeases, Request
from distq.tasks.failure import pack_overrun

if TYPE_CHECKING:
    from distq.master.cycle.requests import Cycle


class EndOverrun(LoseLeases):
    """An executor was killed because its task ran beyond its time limit: that attempt has failed."""

    __slots__ = ("key", "stack")

    def __init__(self, holder: Holder, cause: str, key: int, stack: str) -> None:
        super().__init__(holder, "executor", cause, running=0)
        self.key = key
        self.stack = stack

    def decide(self, broker: Cycle, now: float) -> bool:  # noqa: D102 - as Request
        ledger, task = broker.ledger, self.holder.held.get(self.key)
        if task is not None:
            limit_s = task.envelope.time_limit_s or 0.0
            body = pack_overrun(self.cause, self.stack)
            ledger.settle(self.key, task.delivery, Outcome.TIMEOUT, body, limit_s, self.cause)
        return super().decide(broker, now)  # False while that is being applied: then it comes again for the rest


def end_unless_reclaimed(broker: Cycle, absent: Holder, reclaim_s: float, lease_s: float) -> None:
    """After a restart: what was held before goes to others when its executors have had time to come back.

    Their workers were heard of by the master before, until a moment ago perhaps: what is fenced runs nowhere else, and
    what has ended and may run on keeps its place, until their leases have ended.
    """
    for holder, wait_s in ((broker.ledger.detach_holder(absent), max(lease_s, reclaim_s)), (absent, reclaim_s)):
        if broker.ledger.holds(holder):
            broker.ask_at(broker.clock.now() + wait_s, LoseLeases(holder, "restart", "", running=0))


class ReturnLeases(Request):
    """Tasks that an executor has not begun and shall not begin, as its supervisor says."""

    __slots__ = ("before", "deliveries", "session")

    def __init__(self, session: object, deliveries: Iterable[object]) -> None:
        super().__init__()
        self.session = session
        pairs = (pair for pair in deliveries if isinstance(pair, list | tuple) and len(pair) == 2)
        self.deliveries = [(key, delivery) for key, delivery in pairs if type(key) is type(delivery) is int]
        self.before = self.deliveries

    def decide(self, broker: Cycle, now: float) -> bool:  # noqa: ARG002, D102 - as Request
        ledger, self.before = broker.ledger, self.deliveries
        left = []
        for key, delivery in self.deliveries:
            task = ledger.tasks.get(key)
            if task is None or task.holder is None or task.holder.worker is not self.session:
                continue
            if not ledger.settle(key, delivery, Outcome.RELEASED, None, 0.0):
                left.append((key, delivery))
        self.deliveries = left
        return not left

    def undo(self) -> None:  # noqa: D102
        self.deliveries = self.before
