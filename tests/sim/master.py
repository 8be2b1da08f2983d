"""The simulated master: the real broker, ledger and dispatcher, and a store that is slow and sometimes refuses."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Coroutine, Generator, Iterable, Sequence
from typing import Any, Final, cast

from tests.sim.world import Wire, World

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
RULES: Final = Defaults(
    capacity=25, payload_bytes_max=2000, max_deliveries=3, retries=1, result_ttl_s=TTL_S, backoff=Backoff(0.5, 2.0)
)


class Pause:
    """What a commit waits for: the world, which resumes it."""

    def __await__(self) -> Generator[None, None, None]:
        yield


Disk = dict[int, tuple[bytes, bytes]]
"""Heads and bodies that outlive a master."""


class SlowStore(MemoryStore):
    """Commits take time, in which everything else goes on, and the master may die at either end of it.

    With a disk its rows are there for the next master, and sometimes it does not know itself what became of a commit.
    """

    def __init__(self, world: World, epoch: int, disk: Disk | None) -> None:
        super().__init__(epoch)
        self.epoch = epoch  # as after `follow`: rows of sessions have keys of their master's epoch
        self._world = world
        self._durable = disk is not None
        if disk is not None:
            self._rows = disk

    async def commit(self, batch: Batch) -> None:
        """Keep the batch after a while, or refuse it."""
        if self._world.dice.random() < 0.3:
            await Pause()  # a master that dies here has stored nothing
        if self._durable and self._world.chance(0.0005):
            raise CommitUnknown("the disk failed to sync.")
        if self._world.chance(0.003):
            raise CommitRefused("the disk is full.")
        if self._world.chance(0.01) and any(key > 0 and key not in self._rows for key in batch):
            raise CommitRefused("the disk is full.")
        await super().commit(batch)
        if self._durable:
            if self._world.dice.random() < 0.1:
                await Pause()  # a master that dies here has stored the batch, and has answered no request
            if self._world.chance(0.0005):
                raise CommitUnknown("the disk failed to sync, and all is there.")

    async def read(self, keys: Sequence[int], bytes_max: int | None = None) -> list[bytes | None]:
        """The bodies, after a while; sometimes not all of them fit."""
        if self._durable and self._world.dice.random() < 0.3:
            await Pause()
        if bytes_max is not None and self._world.chance(0.1):
            bytes_max = self._world.dice.randrange(100)
        return await super().read(keys, bytes_max)

    @property
    def keys(self) -> Iterable[int]:
        """All keys that are stored."""
        return self._rows.keys()

    def body(self, key: int) -> bytes:
        """The stored body of this key, without a wait."""
        return self._rows[key][1]


class SimBroker(Broker):
    """A broker whose cycles are events of the world."""

    world: World
    died: Callable[[], None]
    """Called when the store has failed: the process ends, and another one begins."""
    running: Coroutine[Any, Any, None] | None = None
    roused = False
    ended = False

    def wake(self) -> None:
        """Have a cycle run soon."""
        self._is_woken = True
        if not self.roused:
            self.roused = True
            self.world.later(self.world.dice.random() * 0.0002, self.go_on)

    def go_on(self) -> None:
        """Begin a cycle or go on with the one that waits for its commit."""
        self.roused = False
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
            self.roused = True
            self.world.later(self.world.delay_s(), self.go_on)

    @property
    def idle(self) -> bool:
        """Whether everything that was asked has been handled."""
        return self.running is None and not self._inbox and not self._is_woken


class Master:
    """One master, from its start to its restart."""

    def __init__(self, world: World, epoch: int, disk: Disk | None, died: Callable[[], None]) -> None:
        self._alarm = float("inf")
        self.world = world
        self.epoch = epoch
        world.followed_s = world.wall_s
        self.durable = disk is not None
        self.store = SlowStore(world, epoch, disk)
        names = Registry(RULES)
        loader = Loader(names)
        loader.feed([(key, head) for key, (head, _) in (disk or {}).items()])
        self.ledger = Ledger(RULES, world.dice.random, epoch << 40 | 1, names)
        absent = restore(self.ledger, loader, world.now())
        self.loaded = Counter({name: queue.live for name, queue in names.queues.items()})
        """Live tasks that it has found, by queue."""
        self.buried: dict[int, list[str]] = {}
        self.broker = SimBroker(self.ledger, cast("Store", self.store), world, self._note)
        self.broker.world = world
        self.broker.died = died
        self.broker.timer = self._ring_at
        self.workers = Workers(self.broker, LEASE_S)
        greeting = Greeting(epoch=epoch, lease_s=LEASE_S, durable=self.durable)
        self.desk = Dispatcher(self.broker, self.workers, _no_stats, greeting, {}, _ignore, PLAIN_LEASE_S)
        bodies = {key: self.store.body(key) for key in (*incomplete(loader.sessions), *loader.unread)}
        self.desk.clients.restore(loader.sessions, bodies)
        self.desk.schedules.restore(loader.schedules, bodies)
        for key in restore_extras(self.ledger, loader, bodies):
            self.broker.keep_row(key, None)
        end_unless_reclaimed(self.broker, absent, RECLAIM_S, LEASE_S)
        self.broker.follow_clock = self._follow_clock
        self._lead()

    def _follow_clock(self) -> None:
        by_s = self.world.wall_s - self.world.followed_s
        if by_s:
            self.world.followed_s = self.world.wall_s
            self._alarm = float("inf")
            self.broker.shift(by_s)
            self.desk.schedules.plan_all()

    def _lead(self) -> None:
        async def follow() -> None:
            async for _ in self.store.follow("sim:1"):
                pass

        try:
            follow().send(None)
        except StopIteration:
            pass

    def end(self) -> None:
        """Die: what was under way is never answered."""
        self.broker.ended = True
        if self.broker.running is not None:
            self.broker.running.close()

    def called(self, line: Wire, call: InertCall) -> None:
        """A call has arrived."""
        if not self.broker.ended:
            self.desk.called(cast("ServerConnection", line), call)

    def gone(self, line: Wire) -> None:
        """Note the end of a connection."""
        if not self.broker.ended:
            self.desk.connection_closed(cast("ServerConnection", line))

    def _note(self, event: str, task: Task, cause: str) -> None:
        if event == "task_buried":
            self.buried[task.task_key] = list(task.causes or ())

    def _ring_at(self, at: float) -> None:
        if at < self._alarm:
            self._alarm = at
            self.world.later(max(at - self.world.now(), 0.001), lambda: self._ring(at))

    def _ring(self, at: float) -> None:
        if at == self._alarm:
            self._alarm = float("inf")
            self.broker.wake()


def _no_stats(what: str) -> object:
    raise KeyError(what)


def _ignore(line: object, reason: str) -> None:
    pass
