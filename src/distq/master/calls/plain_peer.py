"""Who takes plain items: one connection of a standard-library program, or a thread of it between two connections."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from distq.core.outcome import Outcome
from distq.core.task import Holder, Task
from distq.master.cycle.requests import LEASE, LoseLeases, Request

if TYPE_CHECKING:
    from distq.master.calls.stdlib_programs import ProgramThread
    from distq.master.cycle.requests import Cycle
    from distq.net.serve import ServerConnection

TOO_LONG_AWAY: Final = "its program, which keeps no proxies, did not come back in time"


class PlainPeer(Holder):
    """A connection that uses plain queues: it holds at most one item of a work queue."""

    __slots__ = (
        "connection",
        "detached_at",
        "lapsed",
        "lease_until",
        "request",
        "thread",
        "took_by_new_proxy",
        "watch_at",
    )

    def __init__(self, connection: ServerConnection) -> None:
        super().__init__(connection.peer)
        self.request: Request | None = None
        """The call that is being answered, which may be parked."""
        self.connection: ServerConnection | None = connection
        """None while a thread that keeps no proxy holds an item without a connection, and ..."""
        self.detached_at = 0.0
        """... since when."""
        self.thread: ProgramThread | None = None
        """Whose proxy has called last."""
        self.took_by_new_proxy = False
        """Whether the item was taken by a thread's only proxy, not used before."""
        self.lease_until = math.inf
        self.watch_at = math.inf
        """When its `PlainLeaseTimeout` is due."""
        self.lapsed: tuple[int, int, float] | None = None
        """Key, delivery and begin of the lease that ended because it took too long to answer."""

    @property
    def item(self) -> Task | None:
        """The item that it has taken and not settled."""
        return next(iter(self.held.values()), None)

    def attach(self, connection: ServerConnection) -> None:
        """Go on with another connection of the same thread."""
        self.connection = connection
        self.label = connection.peer
        self.request = None

    def shift(self, by_s: float) -> None:
        """The clock has been set forward by this: its instants go with it."""
        self.detached_at += by_s
        self.lease_until += by_s
        self.watch_at += by_s

    def lend_until(self, cycle: Cycle, at: float) -> None:
        """Let it hold its item until then."""
        self.lease_until = at
        if at < self.watch_at:
            self.watch_at = at
            cycle.ask_at(at, PlainLeaseTimeout(self, at))


def settled(cycle: Cycle, peer: PlainPeer, now: float) -> bool:
    """Settle the item that the peer holds or was too slow with; False if that must wait for the next cycle."""
    task = peer.item
    if task is not None:
        return cycle.ledger.settle(task.task_key, task.delivery, Outcome.SUCCESS, None, now - task.leased_at)
    if peer.lapsed is None:
        return True
    key, delivery, leased_at = peer.lapsed
    if not cycle.ledger.settle(key, delivery, Outcome.SUCCESS, None, now - leased_at):
        return False
    peer.lapsed = None
    return True


class PlainLeaseTimeout(Request):
    """Due when a program may have held an item for too long: DISTQ_PLAIN_LEASE_S, or without a connection."""

    __slots__ = ("at", "peer")

    def __init__(self, peer: PlainPeer, at: float) -> None:
        super().__init__()
        self.peer = peer
        self.at = at

    def shift(self, by_s: float) -> None:  # noqa: D102 - as Request
        if self.peer.watch_at == self.at:
            self.peer.shift(by_s)
        self.at += by_s

    def answer(self, cycle: Cycle, now: float) -> None:  # noqa: D102 - as Request
        peer = self.peer
        if peer.watch_at != self.at:
            return  # another one is due earlier
        peer.watch_at = math.inf
        task = peer.item
        if task is None or peer.lease_until == math.inf:
            return
        if peer.lease_until > now:
            peer.lend_until(cycle, peer.lease_until)
        else:
            peer.lapsed = (task.task_key, task.delivery, task.leased_at)
            cycle.ask(
                LoseLeases(peer, LEASE, "its connection took too long to answer" if peer.connection else TOO_LONG_AWAY)
            )
