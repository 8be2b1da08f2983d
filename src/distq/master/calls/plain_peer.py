"""Holders of plain items: a connection of a standard-library program, or one of its threads between two connections."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from distq.core.outcome import Outcome
from distq.core.task import Holder, Task
from distq.master.cycle.requests import LEASE, LoseLeases, Request

if TYPE_CHECKING:
    from distq.master.cycle.requests import Cycle
    from distq.net.serve import ServerConnection

TOO_LONG_AWAY: Final = "its program, which keeps no proxies, did not come back in time"


class StdlibProgram:
    """One process of a standard-library program."""

    __slots__ = ("came_back", "live", "threads")

    def __init__(self) -> None:
        self.live = 0
        """Its proxies. A proxy adds two by its `incref`, and each of its two `decref`s subtracts one: the first
        when the proxy is complete, the second at its end."""
        self.came_back = False
        """Whether the program has made a proxy after it had dropped all earlier ones."""
        self.threads: dict[str, ProgramThread] = {}
        """Threads that have a proxy, or hold an item without a connection."""


class ProgramThread:
    """A thread of a program, which owns the proxies that it has made."""

    __slots__ = ("caller", "is_new", "live", "peer", "program")

    def __init__(self, caller: str, program: StdlibProgram) -> None:
        self.caller = caller
        self.program = program
        self.live = 0
        """Number of proxies that the thread has made and not dropped."""
        self.is_new = False
        """Whether the thread has made a proxy since its last call."""
        self.peer: PlainPeer | None = None
        """The holder of the thread's item while the thread has no connection."""


class PlainPeer(Holder):
    """The peer behind a connection that uses plain queues; it holds at most one item of a work queue."""

    __slots__ = (
        "connection",
        "detached_at",
        "lapsed",
        "lease_until_at",
        "request",
        "thread",
        "took_by_new_proxy",
        "watch_at",
    )

    def __init__(self, connection: ServerConnection) -> None:
        super().__init__(connection.peer)
        self.request: Request | None = None
        """The call that waits for its reply; it may be parked."""
        self.connection: ServerConnection | None = connection
        """The connection; None while a thread that keeps no proxy holds an item without one."""
        self.detached_at = 0.0
        """The instant at which the last connection ended."""
        self.thread: ProgramThread | None = None
        """The thread whose proxy has called last."""
        self.took_by_new_proxy = False
        """Whether a thread took the item through its only proxy, at that proxy's first call."""
        self.lease_until_at = math.inf
        self.watch_at = math.inf
        """The instant at which its `PlainLeaseTimeout` is due."""
        self.lapsed: tuple[int, int, float] | None = None
        """Task key, delivery and start of the lease that ended because the program took too long."""

    @property
    def item(self) -> Task | None:
        """The item that the program has taken and not settled."""
        return next(iter(self.held.values()), None)

    def attach(self, connection: ServerConnection) -> None:
        """Continue on another connection of the same thread."""
        self.connection = connection
        self.label = connection.peer
        self.request = None

    def shift(self, by_s: float) -> None:
        """Move the peer's instants with a clock that was set."""
        self.detached_at += by_s
        self.lease_until_at += by_s
        self.watch_at += by_s

    def renew_lease(self, cycle: Cycle, at: float) -> None:
        """Let the program hold its item until this instant."""
        self.lease_until_at = at
        if at < self.watch_at:
            self.watch_at = at
            cycle.ask_at(at, PlainLeaseTimeout(self, at))


def settled(cycle: Cycle, peer: PlainPeer, now: float) -> bool:
    """Settle the item that the peer holds, or whose lease has ended; False leaves that to the next cycle."""
    task = peer.item
    if task is not None:
        return cycle.ledger.settle(task.task_key, task.delivery, Outcome.SUCCESS, None, now - task.leased_at)
    if peer.lapsed is None:
        return True
    task_key, delivery, leased_at = peer.lapsed
    if not cycle.ledger.settle(task_key, delivery, Outcome.SUCCESS, None, now - leased_at):
        return False
    peer.lapsed = None
    return True


class PlainLeaseTimeout(Request):
    """Ends a program's lease after DISTQ_PLAIN_LEASE_S, or after the maximum time without a connection."""

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
        if task is None or peer.lease_until_at == math.inf:
            return
        if peer.lease_until_at > now:
            peer.renew_lease(cycle, peer.lease_until_at)
        else:
            peer.lapsed = (task.task_key, task.delivery, task.leased_at)
            cycle.ask(
                LoseLeases(peer, LEASE, "its connection took too long to answer" if peer.connection else TOO_LONG_AWAY)
            )
