"""The master below its socket, on a table: real frames in, decoded replies out, and time that is moved by hand."""

from __future__ import annotations

import asyncio
import pickle
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Final, cast

from distq.core.ledger import Ledger
from distq.core.loading import Loader, restore, restore_extras
from distq.core.ports import Batch, CommitRefused, Store
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
from distq.protocol.hello import Greeting
from distq.storage.memory import MemoryStore
from distq.wire.errors import BadCall
from distq.wire.inert import read_call
from distq.wire.messages import decode_reply, encode_call

START: Final = 1_000_000.0
LEASE_S: Final = 30.0
RULES: Final = Defaults(capacity=6, payload_bytes_max=1000, max_deliveries=3, retries=1, backoff=Backoff(1.0, 8.0))
GREETING: Final = Greeting("test", epoch=1, instance="bench", lease_s=LEASE_S)

Scene = Callable[["Bench"], Coroutine[Any, Any, None]]
WAITING: Final = object()
"""What `FakeLine.heard` says when there is no answer yet."""


class HandClock:
    """Shows what it was set to."""

    def __init__(self) -> None:
        self.at = START

    def now(self) -> float:
        """The present moment."""
        return self.at


class FailingStore(MemoryStore):
    """A memory store that refuses as many commits as it is told to."""

    def __init__(self, epoch: int = 1) -> None:
        super().__init__(epoch)
        self.refuse_next = 0
        self.full = False
        """Whether keys that are not there are refused, as a store does that has no room for more."""
        self.batches: list[Batch] = []

    async def commit(self, batch: Batch) -> None:
        """Refuse, or keep."""
        if self.refuse_next:
            self.refuse_next -= 1
            raise CommitRefused("the disk is full.")
        if self.full and any(key not in self._rows and key > 0 for key in batch):
            raise CommitRefused("the disk is nearly full.")
        self.batches.append(dict(batch))
        await super().commit(batch)


class FakeLine:
    """A connection without a socket: what was replied, in order."""

    def __init__(self, peer: str) -> None:
        self.peer = peer
        self.state: object = None
        self.open = True
        self.alive = True
        """Whether the other end is still there, though nobody may have told us."""
        self.aborted = False
        self.calls = 0
        self.replies: list[bytes] = []

    @property
    def has_called_again(self) -> bool:
        """Whether a call waits behind the present one."""
        return self.calls - len(self.replies) > 1

    def reply(self, body: bytes) -> None:
        """Keep the answer."""
        self.replies.append(body)
        assert len(self.replies) <= self.calls, "one call is answered once"

    def reply_parts(self, parts: Sequence[bytes | memoryview]) -> None:
        """Keep the answer, without its length."""
        whole = b"".join(parts)
        assert int.from_bytes(whole[:4], "big") == len(whole) - 4
        self.reply(whole[4:])

    def is_connected(self) -> bool:
        """Whether the other end has not gone."""
        return self.open and self.alive

    def close(self) -> None:
        """As `abort`."""
        self.abort()

    def abort(self) -> None:
        """The master gives the connection up."""
        self.aborted = True

    @property
    def waits(self) -> bool:
        """Whether its newest call has no answer yet."""
        return len(self.replies) < self.calls

    def heard(self) -> Any:
        """What the newest call returned, or the exception that it raised; WAITING while there is no answer."""
        if self.waits:
            return WAITING
        try:
            return decode_reply(self.replies[-1])
        except Exception as exc:  # noqa: BLE001 - the answer, whatever it is
            return exc


class Bench:
    """One master without sockets."""

    def __init__(
        self,
        rules: Defaults = RULES,
        *,
        plain_lease_s: float | None = None,
        store: Store | None = None,
        ledger: Ledger | None = None,
    ) -> None:
        self.clock = HandClock()
        self.store = cast("FailingStore", store or FailingStore())
        self.ledger = ledger or Ledger(rules, lambda: 0.5, 1 << 40 | 1)
        self.noted: list[tuple[str, int, str]] = []
        self._alarm: float | None = None
        self.broker = Broker(self.ledger, store or cast("Store", self.store), self.clock, self._note)
        self.broker.timer = self._ring_at
        self.workers = Workers(self.broker, LEASE_S)
        self.desk = Dispatcher(
            self.broker, self.workers, {"overview": {"ready": True}}.__getitem__, GREETING, {}, _ignore, plain_lease_s
        )
        self.absent = Holder("an executor from before the restart")
        """Holds what ran when another master had ended, and this one took its store over."""
        self._lines = 0

    def _note(self, event: str, task: Task, cause: str) -> None:
        self.noted.append((event, task.task_key, cause))

    def _ring_at(self, at: float) -> None:
        if self._alarm is None or at < self._alarm:
            self._alarm = at

    async def open(self) -> None:
        """Lead."""
        async for _ in self.store.follow("bench:1"):
            pass

    # -- peers ---------------------------------------------------------------------------------

    def line(self, peer: str = "peer") -> FakeLine:
        """A new connection that has proved the key."""
        self._lines += 1
        return FakeLine(f"{peer}:{self._lines}")

    def call(self, line: FakeLine, ident: str | None, method: str, *args: Any, **kwds: Any) -> None:
        """One call, by way of its frame; the answer may come later."""
        line.calls += 1
        try:
            call = read_call(encode_call(ident, method, args, kwds))
        except BadCall as exc:
            raise AssertionError(method) from exc
        self.desk.called(cast("ServerConnection", line), call)

    async def ask(self, line: FakeLine, ident: str | None, method: str, *args: Any, **kwds: Any) -> Any:
        """One call, and what is heard of it after the cycles that it needs."""
        self.call(line, ident, method, *args, **kwds)
        await self.settle_down()
        return line.heard()

    async def gone(self, line: FakeLine) -> None:
        """The connection has ended, and everybody knows."""
        line.open = line.alive = False
        self.desk.connection_closed(cast("ServerConnection", line))
        await self.settle_down()

    def hello(self, line: FakeLine, role: str, session: str, **more: Any) -> Any:
        """Say hello; the answer comes at once."""
        info = {"role": role, "protocol": [1, 1], "version": "test", "session": session, **more}
        self.call(line, "broker", "hello", info)
        return line.heard()

    def client(self, session: str = "c") -> FakeLine:
        """A client's connection."""
        line = self.line("client")
        self.hello(line, "client", session)
        return line

    def worker(self, session: str = "w", **more: Any) -> FakeLine:
        """A supervisor's connection; its worker runs plain items and tasks of every name."""
        line = self.line("worker")
        self.hello(line, "worker", session, **{"pool": "default", "slots": 2, "plain": True, "tasks": True, **more})
        return line

    def executor(self, index: int = 1, session: str = "w", holds: Sequence[tuple[int, int]] = ()) -> FakeLine:
        """An executor's connection."""
        line = self.line("executor")
        self.hello(line, "executor", session, index=index, holds=list(holds))
        return line

    # -- common calls --------------------------------------------------------------------------

    async def submit(
        self, line: FakeLine, number: int, bodies: Sequence[bytes], wait_s: float = 0.0, *options: Any, queue: str = "q"
    ) -> Any:
        """Submit tasks called "f"; `options` follow queue and name in their envelope."""
        envelope = (queue, "f", *options)
        return await self.ask(line, "broker", "submit", number, [envelope], [(0, len(bodies))], list(bodies), wait_s)

    async def exchange(self, line: FakeLine, settled: Sequence[Any] = (), want: int = 1, wait_s: float = 0.0) -> Any:
        """Settle and lease: the leased rows, or WAITING, or an exception."""
        answer = await self.ask(line, "broker", "exchange", list(settled), want, wait_s)
        return answer[1] if isinstance(answer, tuple) else answer

    async def admin(self, action: str, /, **options: Any) -> Any:
        """What the master answers to an operator on a new connection."""
        operator = self.line("operator")
        self.hello(operator, "cli", "")
        return await self.ask(operator, "broker", "admin", action, options)

    async def lease(self, count: int = 1) -> tuple[FakeLine, FakeLine, list[Any]]:
        """A supervisor, its executor, and the rows of the `count` tasks that the executor holds."""
        supervisor, executor = self.worker(), self.executor()
        await self.submit(self.client(), 1, [b"%d" % number for number in range(count)])
        return supervisor, executor, await self.exchange(executor, want=count)

    async def run_all(self, session: str = "w") -> int:
        """Have a worker return the payload of every ready task; returns how many tasks there were."""
        self.worker(session)
        executor = self.executor(1, session)
        rows = await self.exchange(executor, want=100)
        await self.exchange(executor, [done(row, row[4]) for row in rows], want=0)
        return len(rows)

    def rows(self, line: FakeLine) -> Any:
        """The leased rows of the newest exchange, WAITING while there are none."""
        heard = line.heard()
        return heard[1] if isinstance(heard, tuple) else heard

    # -- time ----------------------------------------------------------------------------------

    async def cycle(self) -> None:
        """Run one cycle."""
        self.broker._is_woken = False
        await self.broker.cycle()

    async def settle_down(self) -> None:
        """Run cycles until nobody asks for one more."""
        for _ in range(50):
            await self.cycle()
            if not self.broker._inbox and not self.broker._is_woken:
                return
        raise AssertionError("the broker goes round and round")

    async def advance(self, seconds: float) -> None:
        """Move time on, and run what the alarm was set to on the way."""
        end = self.clock.at + seconds
        while self._alarm is not None and self._alarm <= end:
            self.clock.at, self._alarm = max(self._alarm, self.clock.at), None
            await self.settle_down()
        self.clock.at = end
        await self.settle_down()

    # -- looking -------------------------------------------------------------------------------

    def queue(self, name: str) -> Queue[Task]:
        """A queue of the ledger."""
        return self.ledger.registry.queue(name)

    def counts(self, name: str) -> dict[str, int]:
        """How many tasks a queue has in each state, without zeros."""
        return {STATE_NAMES[state]: count for state, count in enumerate(self.queue(name).counts) if count}

    def tally(self, queue: str, name: str) -> Any:
        """The counters of one task name."""
        return self.ledger.registry.counters_of(queue, name)


def _ignore(line: object, reason: str) -> None:
    pass


async def restarted(bench: Bench) -> Bench:
    """Another master, with what this one has stored."""
    rows = bench.store._rows
    names = Registry(RULES)
    loader = Loader(names)
    loader.feed([(key, head) for key, (head, _) in rows.items()])
    books = Ledger(RULES, lambda: 0.5, 2 << 40 | 1, names)
    absent = restore(books, loader, bench.clock.at)
    store = FailingStore(epoch=2)
    store._rows = rows
    again = Bench(store=cast("Store", store), ledger=books)
    again.clock.at = bench.clock.at
    again.absent = absent
    bodies = {key: rows[key][1] for key in (*incomplete(loader.sessions), *loader.unread)}
    again.desk.clients.restore(loader.sessions, bodies)
    again.desk.schedules.restore(loader.schedules, bodies)
    assert restore_extras(books, loader, bodies) == []
    await again.open()
    return again


def on_bench(*, faulty: bool = False, **settings: Any) -> Callable[[Scene], Callable[[], None]]:
    """Make a test of a scene: it is played on a bench that leads, without an error of ours unless it is `faulty`."""

    def decorate(scene: Scene) -> Callable[[], None]:
        async def play() -> None:
            bench = Bench(**settings)
            await bench.open()
            await scene(bench)
            assert faulty or not any(bench.broker.guard.counts.values()), bench.broker.guard.counts

        def test() -> None:
            asyncio.run(play())

        test.__doc__, test.__name__, test.__qualname__ = scene.__doc__, scene.__name__, scene.__qualname__
        return test

    return decorate


def done(row: Sequence[Any], value: object = None, run_s: float = 0.1) -> tuple[Any, ...]:
    """The answer to a leased row: success with this value."""
    return (row[0], row[1], 0, pickle.dumps(value), run_s, "")


def failed(row: Sequence[Any], outcome: int = 1, cause: str = "ValueError: no") -> tuple[Any, ...]:
    """The answer to a leased row: a failure."""
    return (row[0], row[1], outcome, pickle.dumps(("ValueError", "no", "Traceback ...")), 0.1, cause)


def released(row: Sequence[Any]) -> tuple[Any, ...]:
    """The answer to a leased row: handed back unstarted."""
    return (row[0], row[1], 2, None, 0.0, "")
