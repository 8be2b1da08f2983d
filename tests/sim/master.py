"""The simulated master: the real broker, ledger and dispatcher, and a store that is slow and sometimes refuses."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Coroutine, Generator, Iterable, Sequence
from contextlib import suppress
from typing import Any, Final, Protocol, cast

from tests.sim.world import Connection

from distq.core.ledger import Ledger
from distq.core.loading import Loader, restore, restore_extras
from distq.core.ports import Batch, CommitRefused, CommitUnknown, Fenced, Store, StoreError
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


class Host(Protocol):
    """What a master uses of its machine: the time, events, chance."""

    rng: random.Random
    followed_offset_s: float

    @property
    def wall_offset_s(self) -> float:
        """By how many seconds the machine's clock was set in all."""
        ...

    def now(self) -> float:
        """The present time by the master's clock."""
        ...

    def later(self, seconds: float, event: Callable[[], None]) -> None:
        """Plan an event of the master."""
        ...

    def chance(self, probability: float) -> bool:
        """Whether a fault of this probability happens now."""
        ...

    def delay_s(self) -> float:
        """The seconds that a message travels."""
        ...


class Pause:
    """The wait of a commit; the world resumes it."""

    def __await__(self) -> Generator[None, None, None]:
        yield


class Reply:
    """The answer to a question to another machine: a coroutine of a master waits for it."""

    def __init__(self) -> None:
        self.resume: Callable[[], None] = lambda: None
        """Called when the answer is here, if a coroutine waits for it."""
        self.is_here = False
        self._outcome: Any = None

    def __await__(self) -> Generator[Reply, None, Any]:
        if not self.is_here:
            yield self
        if isinstance(self._outcome, Exception):
            raise self._outcome
        return self._outcome

    def come(self, outcome: object) -> None:
        """Give the answer; a later one has no effect."""
        if not self.is_here:
            self.is_here, self._outcome = True, outcome
            self.resume()


Disk = dict[int, tuple[bytes, bytes]]
"""Heads and bodies that outlive a master."""


class SlowStore(MemoryStore):
    """A store whose commits take time, so that other events happen meanwhile and the master may die before or after.

    With a disk its rows are there for the next master, and the outcome of a commit is sometimes unknown.
    """

    def __init__(self, world: Host, epoch: int, disk: Disk | None) -> None:
        super().__init__(epoch)
        self.epoch = epoch  # as after `follow`: rows of sessions have keys of their master's epoch
        self._world = world
        self.durable = disk is not None
        if disk is not None:
            self._rows = disk

    async def commit(self, batch: Batch) -> None:
        """Store the batch after a delay, or refuse it."""
        if self._world.rng.random() < 0.3:
            await Pause()  # a master that dies here has stored nothing
        if self.durable and self._world.chance(0.0005):
            raise CommitUnknown("the disk failed to sync.")
        if self._world.chance(0.003):
            raise CommitRefused("the disk is full.")
        if self._world.chance(0.01) and any(key > 0 and key not in self._rows for key in batch):
            raise CommitRefused("the disk is full.")
        await super().commit(batch)
        if self.durable:
            if self._world.rng.random() < 0.1:
                await Pause()  # a master that dies here has stored the batch, and has answered no request
            if self._world.chance(0.0005):
                raise CommitUnknown("the disk failed to sync, and the batch is stored.")

    async def read(self, keys: Sequence[int], bytes_max: int | None = None) -> list[bytes | None]:
        """The bodies after a delay; sometimes not all of them fit into the answer."""
        if self.durable and self._world.rng.random() < 0.3:
            await Pause()
        if bytes_max is not None and self._world.chance(0.1):
            bytes_max = self._world.rng.randrange(100)
        return await super().read(keys, bytes_max)

    def heads(self) -> list[tuple[int, bytes]]:
        """All stored heads, without a delay."""
        return [(key, head) for key, (head, _) in self._rows.items()]

    @property
    def keys(self) -> Iterable[int]:
        """All stored keys."""
        return self._rows.keys()

    def body(self, key: int) -> bytes:
        """The stored body of this key, without a delay."""
        return self._rows[key][1]


class SimBroker(Broker):
    """A broker whose cycles are events of the world."""

    world: Host
    died: Callable[[], None]
    """Called when this master may not go on: a commit's outcome is unknown, or another master leads."""
    running: Coroutine[Any, Any, None] | None = None
    waits: Reply | None = None
    """The answer of the database that the present cycle waits for."""
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
        if self.ended or (self.waits is not None and not self.waits.is_here):
            return  # also if it was woken while it waits
        if self.running is None:
            self._is_woken = False
            self.running = self.cycle()
        self.waits = None
        try:
            waits = self.running.send(None)
        except (CommitUnknown, Fenced, LeaseEnded):
            self.ended = True
            self.world.later(0.0, self.died)
        except StopIteration:
            self.running = None
            if self._inbox or self._is_woken:
                self.wake()
        else:
            self.cycle_planned = True
            if isinstance(waits, Reply):
                self.waits = waits
                waits.resume = self.continue_cycle
            else:
                self.world.later(self.world.delay_s(), self.continue_cycle)

    @property
    def idle(self) -> bool:
        """Whether the broker has handled every request."""
        return self.running is None and not self._inbox and not self._is_woken


class LeaseEnded(StoreError):
    """The master may not answer any more; one of several masters then stands by."""


class Loaded:
    """What a master has read of its store before it leads."""

    def __init__(self) -> None:
        self.registry = Registry(DEFAULTS)
        self.loader = Loader(self.registry)


class Master:
    """One master, from its start to its restart; `check` raises LeaseEnded if it may not answer."""

    def __init__(
        self,
        world: Host,
        store: SlowStore,
        died: Callable[[], None],
        loaded: Loaded | None = None,
        check: Callable[[], None] = lambda: None,
    ) -> None:
        self._timer_at = float("inf")
        self.world = world
        self.epoch = epoch = store.epoch
        world.followed_offset_s = world.wall_offset_s
        self.durable = store.durable
        self.store = store
        self._check = check
        if loaded is None:
            loaded = Loaded()
            loaded.loader.feed(store.heads())
        registry, loader = loaded.registry, loaded.loader
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
        self.broker.committed = lambda _: check()

    def _follow_clock(self) -> None:
        self._check()
        by_s = self.world.wall_offset_s - self.world.followed_offset_s
        if by_s:
            self.world.followed_offset_s = self.world.wall_offset_s
            self._timer_at = float("inf")
            self.broker.shift(by_s)
            self.dispatcher.schedules.plan_all()

    def end(self) -> None:
        """Die: requests without an answer never get one."""
        self.broker.ended = True
        if self.broker.running is not None:
            with suppress(LeaseEnded):
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
