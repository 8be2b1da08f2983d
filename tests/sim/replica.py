"""One of several simulated masters: it stands by, follows and leads; it may die or freeze at any await."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, Final, cast

from tests.sim.database import Database, Link, LinkLost, LogReader, Look, ReplicatedStore
from tests.sim.master import LeaseEnded, Loaded, Master, Reply
from tests.sim.world import Connection, World

from distq.core.ports import FORGET, StoreError
from distq.master.replica import LeaderHandler

if TYPE_CHECKING:
    from distq.master.replica import Replica
    from distq.net.serve import ServerConnection
    from distq.wire.inert import InertCall

LEASE_S: Final = 5.0
MARGIN: Final = 0.1
"""Part of the lease by which a leader stops answering early."""
DRIFT_MAX: Final = 0.04
"""Part by which the monotonic clocks of machines run fast or slow; twice that is below MARGIN."""
POLL_S: Final = 0.5
AGAIN_S: Final = 0.5
UNLOCK_AFTER_S: Final = 0.2
MACHINE_S: Final = 1.0
"""Seconds within which a machine that works tells the database that a process has ended."""


class Machine:
    """The machine of one master process: its clock, and its events, which wait while the process is frozen."""

    def __init__(self, world: World) -> None:
        self.rng = world.rng
        self.world = world
        self.alive = True
        self.frozen_until = 0.0
        self.followed_offset_s = world.wall_offset_s
        self.rate = 1 + (world.rng.random() * 2 - 1) * DRIFT_MAX
        """How fast the monotonic clock of the machine runs."""

    @property
    def wall_offset_s(self) -> float:
        """By how many seconds the machine's clock was set in all."""
        return self.world.wall_offset_s

    def now(self) -> float:
        """The present time by the master's clock."""
        return self.world.at + self.followed_offset_s

    def monotonic(self) -> float:
        """The monotonic clock of the machine."""
        return self.world.at * self.rate

    def later(self, seconds: float, event: Callable[[], None]) -> None:
        """Plan an event of the process."""
        self.world.later(seconds, lambda: self.run(event))

    def run(self, event: Callable[[], None]) -> None:
        """Run an event now, after the thaw of a frozen process, or never if it has died."""
        if not self.alive:
            return
        if self.frozen_until > self.world.at:
            self.world.later(self.frozen_until - self.world.at, lambda: self.run(event))
        else:
            event()

    def chance(self, probability: float) -> bool:
        """Whether a fault of this probability happens now."""
        return self.world.chance(probability)

    def delay_s(self) -> float:
        """The seconds that a message travels."""
        return self.world.delay_s()


class Path:
    """The way from a peer to a leader, perhaps through a standby; it is the handler of a connection."""

    def __init__(self, leader: Node, epoch: int, through: Node) -> None:
        self.leader = leader
        self.nodes = (leader, through)
        self.epoch = epoch
        self._machine = leader.machine
        assert leader.handler is not None
        self._handler = leader.handler

    def called(self, connection: Connection, call: InertCall) -> None:
        """Let the leader handle the call, unless it is frozen."""
        self._machine.run(lambda: self._called(connection, call))

    def _called(self, connection: Connection, call: InertCall) -> None:
        if connection.open:
            self._handler.called(cast("ServerConnection", connection), call)

    def connection_closed(self, connection: Connection) -> None:
        """Let the leader handle the end of the connection."""
        self._machine.run(lambda: self._handler.connection_closed(cast("ServerConnection", connection)))


class Lease:
    """The lease of a leader, as `LeaderHandler` asks for it."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self.until = 0.0
        """When the lease ends, by the machine's monotonic clock."""

    def check_lease(self) -> bool:
        """Whether the master may answer; if not, it stands by."""
        node = self._node
        if node.machine.monotonic() < self.until or not node.checks_lease:
            return True
        node.machine.later(0.0, node.lose)
        return False


class Node:
    """One master of several, over all its processes."""

    checks_lease = True
    """Whether the leader checks its lease; a test shows what happens without."""
    asks_leader = True
    """Whether a standby asks the leader's machine if its process has ended; a test shows what happens without."""

    def __init__(self, world: World, database: Database, name: str, led: Callable[[Node], None]) -> None:
        self.world = world
        self.database = database
        self.name = name
        self.master: Master | None = None
        """The master, while this node leads."""
        self.handler: LeaderHandler | None = None
        self.leads_in = 0
        """The epoch in which it leads, 0 for a standby."""
        self.known_leader: Node | None = None
        self.peers_separated_until = 0.0
        """Until when no connection of a peer or of a standby reaches this node."""
        self.is_running = False
        self.is_lost = False
        """Whether the machine of the process that has ended is lost too, so that it refuses no connection."""
        self._led = led
        self._tasks: list[Coroutine[Any, Any, None]] = []
        self.start()

    # -- process -------------------------------------------------------------------------------

    def start(self) -> None:
        """Start a process, which stands by, unless one runs."""
        if self.is_running:
            return
        self.machine = Machine(self.world)
        self.is_running, self.is_lost = True, False
        self._led_epoch = 0
        self._stand_by()

    def die(self, there_in_s: float, *, unsent_is_lost: bool) -> None:
        """End the process; the database notices the end of its sessions after a time."""
        self.machine.alive = self.is_running = False
        self.is_lost = there_in_s > MACHINE_S
        self._end_tasks()
        self.link.end(here_in_s=0.0, there_in_s=there_in_s, unsent_is_lost=unsent_is_lost)
        self._end_leadership(arrives=False)

    def _end_tasks(self) -> None:
        for task in self._tasks:
            task.close()
        self._tasks.clear()

    def _spawn(self, task: Coroutine[Any, Any, None]) -> None:
        self._tasks.append(task)
        self._go_on(task)

    def _go_on(self, task: Coroutine[Any, Any, None]) -> None:
        if task not in self._tasks:
            return
        try:
            waits: Reply = task.send(None)
        except StopIteration:
            self._tasks.remove(task)
        else:
            waits.resume = lambda: self._go_on(task)

    async def _sleep(self, seconds: float) -> None:
        reply = Reply()
        self.machine.later(seconds, lambda: reply.come(None))
        await reply

    # -- standing by ---------------------------------------------------------------------------

    def lose(self) -> None:
        """Stop answering, end all connections, and stand by."""
        if self.leads_in:
            self._end_tasks()
            self.link.end(here_in_s=0.0, there_in_s=self.world.delay_s())
            self._end_leadership(arrives=False)
            self.machine.later(AGAIN_S, self._stand_by)

    def _end_leadership(self, *, arrives: bool) -> None:
        if self.master is not None:
            self.master.end()
        self.master = self.handler = None
        self.leads_in = 0
        for connection in list(self.world.connections):
            path = connection.handler
            if isinstance(path, Path) and self in path.nodes:
                if path.leader is self:
                    connection.open = False
                connection.cut(noticed_in_s=0.0, arrives=arrives)

    def _stand_by(self) -> None:
        self.link = Link(self.world, self.database, self.machine)
        self._spawn(self._follow())

    async def _follow(self) -> None:
        """Follow the leader until this master leads; new sessions mean that all heads are read again."""
        while True:
            reader, loaded = LogReader(self.database, self.link), Loaded()
            self._changed_at = 0.0
            self._seen: Look | None = None
            try:
                while not (epoch := await self._try_to_lead()):
                    loaded = await self._feed(reader, loaded)
                    await self._sleep(POLL_S)
                while (heads := await reader.step()) or heads is FORGET:
                    loaded = self._fed(loaded, heads)
            except LinkLost:
                await self._sleep(AGAIN_S)
                self.link = Link(self.world, self.database, self.machine)
            else:
                self._lead(epoch, loaded)
                return

    async def _feed(self, reader: LogReader, loaded: Loaded) -> Loaded:
        return self._fed(loaded, await reader.step())

    def _fed(self, loaded: Loaded, heads: Any) -> Loaded:
        if heads is FORGET:
            return Loaded()
        loaded.loader.feed(heads)
        return loaded

    async def _try_to_lead(self) -> int:
        """Begin an epoch if this master may, and return it; 0 otherwise."""
        link, database = self.link, self.database
        look: Look = await link.ask(lambda: database.look(link))
        if not await self._may_lead(look):
            return 0
        epoch: int = await link.ask(lambda: database.lead(link, self))
        asked_at = self.machine.monotonic()
        beat = await link.ask(lambda: database.renew(link, epoch))
        if beat is not None and beat != look.beat + 1:
            await self._sleep(LEASE_S / self.machine.rate)  # a thawed leader has renewed its lease meanwhile
            asked_at = self.machine.monotonic()
            beat = await link.ask(lambda: database.renew(link, epoch))
        if beat is None:
            return 0
        self.lease = Lease(self)
        self._extend_lease(asked_at)
        self._spawn(self._renew_lease(epoch))
        return epoch

    async def _may_lead(self, look: Look) -> bool:
        now, seen = self.machine.monotonic(), self._seen
        if seen is None or (look.epoch, look.beat) != (seen.epoch, seen.beat):
            self._changed_at = now
        self._seen, self.known_leader = look, look.leader
        over_s = now - self._changed_at - LEASE_S
        if not look.has_lock:
            if over_s > UNLOCK_AFTER_S:
                await self.link.ask(self.database.end_lock)
            return False
        if look.released or look.epoch in (0, self._led_epoch) or over_s >= 0:
            return True
        return look.same_server and not look.has_committer and await self._has_ended(look.leader)

    async def _has_ended(self, leader: Node) -> bool:
        """Whether the leader's machine refuses a connection, because its process has ended."""
        if not self.asks_leader:
            return True
        await self._sleep(self.world.delay_s())
        separated = max(leader.peers_separated_until, self.peers_separated_until) > self.world.at
        return not (leader.is_running or leader.is_lost or separated)

    # -- leading -------------------------------------------------------------------------------

    def _extend_lease(self, asked_at: float) -> None:
        lease = self.lease
        lease.until = asked_at + LEASE_S * (1 - MARGIN)
        left_s = (lease.until - self.machine.monotonic()) / self.machine.rate
        self.machine.later(left_s + 0.001, lambda: self._check_lease(lease))

    def _check_lease(self, lease: Lease) -> None:
        if lease is self.lease:
            lease.check_lease()

    async def _renew_lease(self, epoch: int) -> None:
        lease, link = self.lease, self.link
        while True:
            await self._sleep(LEASE_S / 3)
            if self.lease is not lease or self.link is not link:
                return
            asked_at = self.machine.monotonic()
            try:
                beat = await link.ask(lambda: self.database.renew(link, epoch))
            except LinkLost:
                beat = None
            if beat is None:
                self.machine.later(0.0, self.lose)
                return
            self._extend_lease(asked_at)

    def _lead(self, epoch: int, loaded: Loaded) -> None:
        store = ReplicatedStore(self.machine, self.database, self.link, epoch)
        self.leads_in = self._led_epoch = epoch
        self.master = Master(self.machine, store, self.lose, loaded, self._check)
        replica = cast("Replica", self)
        self.handler = LeaderHandler(replica, self.master.dispatcher)
        self._led(self)

    @property
    def store(self) -> Lease:
        """What `LeaderHandler` asks about the lease."""
        return self.lease

    def _check(self) -> None:
        if not self.lease.check_lease():
            raise LeaseEnded("The leader's lease has ended.")

    def hand_over(self) -> None:
        """End as after SIGTERM: the present cycle ends, then the lease is released, then the process ends."""
        self._spawn(self._release())

    async def _release(self) -> None:
        master, epoch, link = self.master, self.leads_in, self.link
        while master is not None and master.broker.running is not None and self.leads_in:
            await self._sleep(0.0005)
        self._end_leadership(arrives=True)
        if epoch:
            try:
                await link.ask(lambda: self.database.release(link, epoch))
            except StoreError:
                pass
        self.machine.later(0.0, lambda: self.die(self.world.delay_s(), unsent_is_lost=False))

    # -- connections ---------------------------------------------------------------------------

    def path(self) -> Path | None:
        """The way of a new connection that comes to this node, None if no leader can be reached."""
        if not self.is_running or self.peers_separated_until > self.world.at:
            return None
        if self.leads_in:
            return Path(self, self.leads_in, self)
        leader = self.known_leader
        frozen = self.machine.frozen_until > self.world.at
        if leader is None or frozen or leader is self or not leader.leads_in:
            return None
        return Path(leader, leader.leads_in, self) if leader.peers_separated_until <= self.world.at else None
