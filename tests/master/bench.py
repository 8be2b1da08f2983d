"""Runs a master without sockets: tests give it real frames, read decoded replies, and set its clock."""

from __future__ import annotations

import asyncio
import pickle
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Final, cast

from distq.core.ledger import Ledger
from distq.core.loading import Loader, restore, restore_extras
from distq.core.ports import Batch, CommitRefused, Row, Store
from distq.core.queue import Queue
from distq.core.registry import Defaults, Registry
from distq.core.retry import Backoff
from distq.core.states import STATE_NAMES
from distq.core.task import Holder, Task
from distq.master.calls.dispatch import Dispatcher
from distq.master.cycle.broker import Broker
from distq.master.sessions.clients import incomplete
from distq.master.sessions.workers import Workers
from distq.net.serve import ServerConnection
from distq.protocol.authority import OPERATOR, Authority
from distq.protocol.hello import Greeting
from distq.storage.memory import MemoryStore
from distq.wire.errors import BadCall
from distq.wire.framing import Framer
from distq.wire.inert import read_call
from distq.wire.messages import decode_reply, encode_call

START: Final = 1_000_000.0
LEASE_S: Final = 30.0
DEFAULTS: Final = Defaults(capacity=6, payload_bytes_max=1000, max_deliveries=3, retries=1, backoff=Backoff(1.0, 8.0))
GREETING: Final = Greeting("test", epoch=1, instance="bench", lease_s=LEASE_S)

BenchTest = Callable[["Bench"], Coroutine[Any, Any, None]]
WAITING: Final = object()
"""What `FakeConnection.answer` returns while the newest call has no answer."""


class ManualClock:
    """A clock that shows the time that the test has set."""

    def __init__(self) -> None:
        self.at = START

    def now(self) -> float:
        """The present time."""
        return self.at


class FailingStore(MemoryStore):
    """A memory store that refuses commits when the test sets it to."""

    def __init__(self, epoch: int = 1) -> None:
        super().__init__(epoch)
        self.refuse_next = 0
        """Number of the next commits that the store refuses."""
        self.full = False
        """Whether the store refuses new keys, as a store without free space does."""
        self.refuses: Callable[[int, Row], bool] = lambda _key, _row: False
        """Whether the store refuses each batch that has this row, as a constraint of a database does."""
        self.refused: list[Batch] = []
        """The batches that had such a row."""
        self.batches: list[Batch] = []

    async def commit(self, batch: Batch) -> None:
        """Refuse the batch or store it."""
        if self.refuse_next:
            self.refuse_next -= 1
            raise CommitRefused("the disk is full.", is_general=True)
        if self.full and any(key not in self._rows and key > 0 for key in batch):
            raise CommitRefused("the disk is nearly full.", is_general=True)
        if any(self.refuses(key, row) for key, row in batch.items()):
            self.refused.append(dict(batch))
            raise CommitRefused("the row violates a check constraint.")
        self.batches.append(dict(batch))
        await super().commit(batch)


class FakeConnection:
    """A connection without a socket; it records the replies in order."""

    def __init__(self, peer: str) -> None:
        self.peer = peer
        self.state: object = None
        self.authority = OPERATOR
        self.reads_split = False
        self.open = True
        self.alive = True
        """Whether the peer still runs; the master may not know yet that it has ended."""
        self.aborted = False
        self.calls = 0
        self.replies: list[bytes] = []

    @property
    def has_called_again(self) -> bool:
        """Whether another call waits behind the present one."""
        return self.calls - len(self.replies) > 1

    def reply(self, body: bytes) -> None:
        """Record the answer to the oldest call without one."""
        self.replies.append(body)
        assert len(self.replies) <= self.calls, "one call is answered once"

    def reply_parts(self, parts: Sequence[bytes | memoryview]) -> None:
        """Record the answer without its length prefix."""
        framer = Framer(1 << 30)
        framer.takes_split = True
        (frame,) = framer.feed(b"".join(parts))
        self.reply(frame)

    def is_connected(self) -> bool:
        """Whether the connection is open and the peer still runs."""
        return self.open and self.alive

    def close(self) -> None:
        """Close the connection, as `abort` does."""
        self.abort()

    def abort(self) -> None:
        """Record that the master has closed the connection."""
        self.aborted = True

    @property
    def waits(self) -> bool:
        """Whether the newest call has no answer yet."""
        return len(self.replies) < self.calls

    def answer(self) -> Any:
        """What the newest call returned, or the exception that it raised; WAITING while it has no answer."""
        if self.waits:
            return WAITING
        try:
            return decode_reply(self.replies[-1])
        except Exception as exc:  # noqa: BLE001 - any exception is the answer
            return exc


def _stats(what: str, after: str | None) -> object:
    return {"overview": {"ready": True}, "queues": {"after": after}}[what]


class Bench:
    """One master without sockets, and the calls that tests make to it."""

    def __init__(
        self,
        defaults: Defaults = DEFAULTS,
        *,
        plain_lease_s: float | None = None,
        store: Store | None = None,
        ledger: Ledger | None = None,
    ) -> None:
        self.clock = ManualClock()
        self.store = cast("FailingStore", store or FailingStore())
        self.ledger = ledger or Ledger(defaults, lambda: 0.5, 1 << 40 | 1)
        self.noted: list[tuple[str, int, str]] = []
        self._timer_at: float | None = None
        self.broker = Broker(self.ledger, store or cast("Store", self.store), self.clock, self._note)
        self.broker.timer = self._ring_at
        self.workers = Workers(self.broker, LEASE_S)
        self.dispatcher = Dispatcher(self.broker, self.workers, _stats, GREETING, {}, _ignore, plain_lease_s)
        self.absent = Holder("an executor from before the restart")
        """Holds the leases that the store had when this master started."""
        self._connection_count = 0

    def _note(self, event: str, task: Task, cause: str) -> None:
        self.noted.append((event, task.task_key, cause))

    def _ring_at(self, at: float) -> None:
        if self._timer_at is None or at < self._timer_at:
            self._timer_at = at

    async def open(self) -> None:
        """Take over the store as its leader."""
        async for _ in self.store.follow("bench:1"):
            pass

    # -- peers ---------------------------------------------------------------------------------

    def connection(self, peer: str = "peer", authority: Authority = OPERATOR) -> FakeConnection:
        """A new connection that has proved a key with this authority."""
        self._connection_count += 1
        connection = FakeConnection(f"{peer}:{self._connection_count}")
        connection.authority = authority
        return connection

    def call(self, connection: FakeConnection, ident: str | None, method: str, *args: Any, **kwds: Any) -> None:
        """Send the frame of one call; its answer may come in a later cycle."""
        connection.calls += 1
        try:
            call = read_call(encode_call(ident, method, args, kwds))
        except BadCall as exc:
            raise AssertionError(method) from exc
        self.dispatcher.called(cast("ServerConnection", connection), call)

    async def ask(self, connection: FakeConnection, ident: str | None, method: str, *args: Any, **kwds: Any) -> Any:
        """Call, run the cycles that the call needs, and return its answer."""
        self.call(connection, ident, method, *args, **kwds)
        await self.run_until_idle()
        return connection.answer()

    async def disconnect(self, connection: FakeConnection) -> None:
        """Close the connection from the peer's end, and let the master handle that."""
        connection.open = connection.alive = False
        self.dispatcher.connection_closed(cast("ServerConnection", connection))
        await self.run_until_idle()

    def hello(self, connection: FakeConnection, role: str, session: str, **fields: Any) -> Any:
        """Say hello, and return the answer, which comes without a cycle."""
        info = {"role": role, "protocol": [1, 1], "version": "test", "session": session, **fields}
        self.call(connection, "broker", "hello", info)
        return connection.answer()

    def client(self, session: str = "c", authority: Authority = OPERATOR) -> FakeConnection:
        """The connection of a new client."""
        connection = self.connection("client", authority)
        self.hello(connection, "client", session)
        return connection

    def worker(self, session: str = "w", **fields: Any) -> FakeConnection:
        """The connection of a new worker's supervisor; the worker runs plain items and tasks of every name."""
        connection = self.connection("worker")
        self.hello(
            connection, "worker", session, **{"pool": "default", "slots": 2, "plain": True, "tasks": True, **fields}
        )
        return connection

    def executor(self, index: int = 1, session: str = "w", holds: Sequence[tuple[int, int]] = ()) -> FakeConnection:
        """The connection of a new executor."""
        connection = self.connection("executor")
        self.hello(connection, "executor", session, index=index, holds=list(holds))
        return connection

    # -- common calls --------------------------------------------------------------------------

    async def submit(
        self,
        connection: FakeConnection,
        number: int,
        bodies: Sequence[bytes],
        wait_s: float = 0.0,
        *options: Any,
        queue: str = "q",
    ) -> Any:
        """Submit tasks named "f"; `options` follow queue and name in their envelope."""
        envelope = (queue, "f", *options)
        return await self.ask(
            connection, "broker", "submit", number, [envelope], [(0, len(bodies))], list(bodies), wait_s
        )

    async def exchange(
        self, connection: FakeConnection, settled: Sequence[Any] = (), want: int = 1, wait_s: float = 0.0
    ) -> Any:
        """Settle and lease; returns the leased rows, WAITING, or an exception."""
        answer = await self.ask(connection, "broker", "exchange", list(settled), want, wait_s)
        return answer[1] if isinstance(answer, tuple) else answer

    async def admin(self, action: str, authority: Authority = OPERATOR, /, **options: Any) -> Any:
        """The answer of the master to an operator on a new connection."""
        operator = self.connection("operator", authority)
        self.hello(operator, "cli", "")
        return await self.ask(operator, "broker", "admin", action, options)

    async def lease(self, count: int = 1) -> tuple[FakeConnection, FakeConnection, list[Any]]:
        """A supervisor, its executor, and the rows of the `count` tasks that the executor holds."""
        supervisor, executor = self.worker(), self.executor()
        await self.submit(self.client(), 1, [b"%d" % number for number in range(count)])
        return supervisor, executor, await self.exchange(executor, want=count)

    async def run_all(self, session: str = "w") -> int:
        """Run every ready task on a worker that returns its payload; returns the number of tasks."""
        self.worker(session)
        executor = self.executor(1, session)
        rows = await self.exchange(executor, want=100)
        await self.exchange(executor, [done(row, row[4]) for row in rows], want=0)
        return len(rows)

    def rows(self, connection: FakeConnection) -> Any:
        """The leased rows of the newest exchange, WAITING while it has no answer."""
        answer = connection.answer()
        return answer[1] if isinstance(answer, tuple) else answer

    # -- time ----------------------------------------------------------------------------------

    async def cycle(self) -> None:
        """Run one cycle."""
        self.broker._is_woken = False
        await self.broker.cycle()

    async def run_until_idle(self) -> None:
        """Run cycles until the broker has no request and no reason for another cycle."""
        for _ in range(50):
            await self.cycle()
            if not self.broker._inbox and not self.broker._is_woken:
                return
        raise AssertionError("the broker still wants another cycle after 50")

    async def advance(self, seconds: float) -> None:
        """Move the clock forward, and run the cycles for which the broker has set its timer on the way."""
        end = self.clock.at + seconds
        while self._timer_at is not None and self._timer_at <= end:
            self.clock.at, self._timer_at = max(self._timer_at, self.clock.at), None
            await self.run_until_idle()
        self.clock.at = end
        await self.run_until_idle()

    # -- state ---------------------------------------------------------------------------------

    def queue(self, name: str) -> Queue[Task]:
        """The queue of the ledger with this name."""
        return self.ledger.registry.queue(name)

    def counts(self, name: str) -> dict[str, int]:
        """Number of a queue's tasks in each state, without zeros."""
        return {STATE_NAMES[state]: count for state, count in enumerate(self.queue(name).counts) if count}

    def counters(self, queue: str, name: str) -> Any:
        """The counters of one task name on one queue."""
        return self.ledger.registry.counters_of(queue, name)


def _ignore(connection: object, reason: str) -> None:
    pass


async def restarted(bench: Bench, **limits: Any) -> Bench:
    """Start another master on the rows that this one has stored; `limits` are settings that have changed."""
    rows = bench.store._rows
    defaults = bench.ledger.defaults._replace(**limits)
    registry = Registry(defaults)
    loader = Loader(registry)
    loader.feed([(key, head) for key, (head, _) in rows.items()])
    ledger = Ledger(defaults, lambda: 0.5, 2 << 40 | 1, registry)
    absent = restore(ledger, loader, bench.clock.at)
    store = FailingStore(epoch=2)
    store._rows = rows
    again = Bench(store=cast("Store", store), ledger=ledger)
    again.clock.at = bench.clock.at
    again.absent = absent
    bodies = {key: rows[key][1] for key in (*incomplete(loader.sessions), *loader.keys_of_bodies)}
    again.dispatcher.clients.restore(loader.sessions, bodies)
    again.dispatcher.schedules.restore(loader.schedules, bodies)
    assert restore_extras(ledger, loader, bodies) == []
    await again.open()
    return again


def on_bench(*, faulty: bool = False, **settings: Any) -> Callable[[BenchTest], Callable[[], None]]:
    """Make a test that runs on a leading bench; unless `faulty`, no request may end with an unexpected exception."""

    def decorate(bench_test: BenchTest) -> Callable[[], None]:
        async def run() -> None:
            bench = Bench(**settings)
            await bench.open()
            await bench_test(bench)
            assert faulty or not any(bench.broker.guard.counts.values()), bench.broker.guard.counts

        def test() -> None:
            asyncio.run(run())

        test.__doc__, test.__name__ = bench_test.__doc__, bench_test.__name__
        test.__qualname__ = bench_test.__qualname__
        return test

    return decorate


def done(row: Sequence[Any], value: object = None, run_s: float = 0.1) -> tuple[Any, ...]:
    """The settle of a leased row: success with this value."""
    return (row[0], row[1], 0, pickle.dumps(value), run_s, "")


def failed(row: Sequence[Any], outcome: int = 1, cause: str = "ValueError: no") -> tuple[Any, ...]:
    """The settle of a leased row: a failure."""
    return (row[0], row[1], outcome, pickle.dumps(("ValueError", "no", "Traceback ...")), 0.1, cause)


def released(row: Sequence[Any]) -> tuple[Any, ...]:
    """The settle of a leased row: released without a start."""
    return (row[0], row[1], 2, None, 0.0, "")
