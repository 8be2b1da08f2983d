"""The simulated master: the real broker, ledger and dispatcher, and a store that is slow and sometimes refuses."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Coroutine, Generator, Iterable, Sequence
from typing import Any, Final, cast

from tests.sim.world import Connection, World

from distq.core.ledger import Ledger
from distq.core.loading import Loader, restore, restore_extras
from distq.core.ports import Batch, CommitRefused, CommitUnknown, Store
from distq.core.registry import Defaults, Registry
from distq.core.retry import Backoff
from distq.core.task import Task
from distq.master.calls.dispatch import Dispatcher
from distq.master.cycle.broker import Broker
from distq.master.sessions.clients import incomplete
from distq.master.sessions.recovery import end_unless_reclaimed
from distq.master.sessions.workers import Workers
from distq.net.serve import ServerConnection
from distq.protocol.hello import Greeting
from distq.storage.memory import MemoryStore
from distq.wire.inert import InertCall

LEASE_S: Final = 30.0
TTL_S: Final = 20.0
RECLAIM_S: Final = 5.0
PLAIN_LEASE_S: Final = 40.0
DEFAULTS: Final = Defaults(
    capacity=25, payload_bytes_max=2000, max_deliveries=3, retries=1, result_ttl_s=TTL_S, backoff=Backoff(0.5, 2.0)
)


class Pause:
    """The wait of a commit; the world resumes it."""

    def __await__(self) -> Generator[None, None, None]:
        yield


Disk = dict[int, tuple[bytes, bytes]]
"""Heads and bodies that outlive a master."""


class SlowStore(MemoryStore):
    """A store whose commits take time, so that other events happen meanwhile and the master may die before or after.

    With a disk its rows are there for the next master, and the outcome of a commit is sometimes unknown.
    """

    def __init__(self, world: World, epoch: int, disk: Disk | None) -> None:
        super().__init__(epoch)
        self.epoch = epoch  # as after `follow`: rows of sessions have keys of their master's epoch
        self._world = world
        self._durable = disk is not None
        if disk is not None:
            self._rows = disk

    async def commit(self, batch: Batch) -> None:
        """Store the batch after a delay, or refuse it."""
        if self._world.rng.random() < 0.3:
            await Pause()  # a master that dies here has stored nothing
        if self._durable and self._world.chance(0.0005):
            raise CommitUnknown("the disk failed to sync.")
        if self._world.chance(0.003):
            raise CommitRefused("the disk is full.")
        if self._world.chance(0.01) and any(key > 0 and key not in self._rows for key in batch):
            raise CommitRefused("the disk is full.")
        await super().commit(batch)
        if self._durable:
            if self._world.rng.random() < 0.1:
                await Pause()  # a master that dies here has stored the batch, and has answered no request
            if self._world.chance(0.0005):
                raise CommitUnknown("the disk failed to sync, and the batch is stored.")

    async def read(self, keys: Sequence[int], bytes_max: int | None = None) -> list[bytes | None]:
        """The bodies after a delay; sometimes not all of them fit into the answer."""
        if self._durable and self._world.rng.random() < 0.3:
            await Pause()
        if bytes_max is not None and self._world.chance(0.1):
            bytes_max = self._world.rng.randrange(100)
        return await super().read(keys, bytes_max)

    @property
    def keys(self) -> Iterable[int]:
        """All stored keys."""
        return self._rows.keys()

    def body(self, key: int) -> bytes:
        """The stored body of this key, without a delay."""
        return self._rows[key][1]


class SimBroker(Broker):
    """A broker whose cycles are events of the world."""

    world: World
    died: Callable[[], None]
    """Called when a commit's outcome is unknown: this master ends, and another one starts."""
    running: Coroutine[Any, Any, None] | None = None
    cycle_planned = False
    ended = False

    def wake(self) -> None:
        """Plan a cycle within a fifth of a millisecond."""
        self._is_woken = True
        if not self.cycle_planned:
            self.cycle_planned = True
            self.world.later(self.world.rng.random() * 0.0002, self.continue_cycle)

    def continue_cycle(self) -> None:
        """Begin a cycle, or continue the one that waits for its commit."""
        self.cycle_planned = False
        if self.ended:
            return
        if self.running is None:
            self._is_woken = False
            self.running = self.cycle()
        try:
            self.running.send(None)
        except CommitUnknown:
            self.ended = True
            self.world.later(0.0, self.died)
        except StopIteration:
            self.running = None
            if self._inbox or self._is_woken:
                self.wake()
        else:
            self.cycle_planned = True
            self.world.later(self.world.delay_s(), self.continue_cycle)

    @property
    def idle(self) -> bool:
        """Whether the broker has handled every request."""
        return self.running is None and not self._inbox and not self._is_woken


class Master:
    """One master, from its start to its restart."""

    def __init__(self, world: World, epoch: int, disk: Disk | None, died: Callable[[], None]) -> None:
        self._timer_at = float("inf")
        self.world = world
        self.epoch = epoch
        world.followed_offset_s = world.wall_offset_s
        self.durable = disk is not None
        self.store = SlowStore(world, epoch, disk)
        registry = Registry(DEFAULTS)
        loader = Loader(registry)
        loader.feed([(key, head) for key, (head, _) in (disk or {}).items()])
        self.ledger = Ledger(DEFAULTS, world.rng.random, epoch << 40 | 1, registry)
        absent = restore(self.ledger, loader, world.now())
        self.loaded = Counter({name: queue.live for name, queue in registry.queues.items()})
        """Number of live tasks that the master has loaded, by queue."""
        self.broker = SimBroker(self.ledger, cast("Store", self.store), world, _note_nothing)
        self.broker.world = world
        self.broker.died = died
        self.broker.timer = self._ring_at
        self.workers = Workers(self.broker, LEASE_S)
        greeting = Greeting(epoch=epoch, lease_s=LEASE_S, durable=self.durable)
        self.dispatcher = Dispatcher(self.broker, self.workers, _no_stats, greeting, {}, _ignore, PLAIN_LEASE_S)
        bodies = {key: self.store.body(key) for key in (*incomplete(loader.sessions), *loader.keys_of_bodies)}
        self.dispatcher.clients.restore(loader.sessions, bodies)
        self.dispatcher.schedules.restore(loader.schedules, bodies)
        for key in restore_extras(self.ledger, loader, bodies):
            self.broker.keep_row(key, None)
        end_unless_reclaimed(self.broker, absent, RECLAIM_S, LEASE_S)
        self.broker.follow_clock = self._follow_clock
        self._lead()

    def _follow_clock(self) -> None:
        by_s = self.world.wall_offset_s - self.world.followed_offset_s
        if by_s:
            self.world.followed_offset_s = self.world.wall_offset_s
            self._timer_at = float("inf")
            self.broker.shift(by_s)
            self.dispatcher.schedules.plan_all()

    def _lead(self) -> None:
        async def follow() -> None:
            async for _ in self.store.follow("sim:1"):
                pass

        try:
            follow().send(None)
        except StopIteration:
            pass

    def end(self) -> None:
        """Die: requests without an answer never get one."""
        self.broker.ended = True
        if self.broker.running is not None:
            self.broker.running.close()

    def called(self, connection: Connection, call: InertCall) -> None:
        """Handle a call that has arrived."""
        if not self.broker.ended:
            self.dispatcher.called(cast("ServerConnection", connection), call)

    def connection_closed(self, connection: Connection) -> None:
        """Handle the end of a connection."""
        if not self.broker.ended:
            self.dispatcher.connection_closed(cast("ServerConnection", connection))

    def _ring_at(self, at: float) -> None:
        if at < self._timer_at:
            self._timer_at = at
            self.world.later(max(at - self.world.now(), 0.001), lambda: self._ring(at))

    def _ring(self, at: float) -> None:
        if at == self._timer_at:
            self._timer_at = float("inf")
            self.broker.wake()


def _no_stats(what: str, _after: str | None) -> object:
    raise KeyError(what)


def _ignore(connection: object, reason: str) -> None:
    pass


def _note_nothing(event: str, task: Task, cause: str) -> None:
    pass
