"""A master without processes, threads and sockets: it answers each call before the call returns.

The dispatcher, the broker and the ledger are the real ones; `EagerMaster` drives the broker's cycles itself. Its only
executor is the thread that calls `work`.
"""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import logging
import random
import sys
import threading
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Final, cast

from distq.core.explain import explain
from distq.core.ledger import Ledger
from distq.core.outcome import Outcome
from distq.core.plurals import counted
from distq.core.registry import Registry
from distq.core.states import LIVE_STATES
from distq.core.task_ids import id_text
from distq.master.admin.inspection import capacity_for, instant_text
from distq.master.calls.dispatch import Dispatcher
from distq.master.cycle.broker import Broker
from distq.master.defaults import defaults_of
from distq.master.sessions.workers import Workers
from distq.protocol.authority import OPERATOR
from distq.protocol.exchange import LeasedTask, LeaseReply, read_lease_reply
from distq.protocol.hello import (
    ExecutorHello,
    Greeting,
    WorkerHello,
    write_executor_hello,
    write_worker_hello,
)
from distq.protocol.methods import ADMIN, BROKER, EXCHANGE, HELLO
from distq.tasks.current import Current
from distq.tasks.failure import TimeLimitExceeded, unpack_failure
from distq.testing.errors import NestedTooDeep, TasksUnfinished
from distq.testing.master_watch import MovableClock, monotonic
from distq.testing.submitted import RecordingStore, Submissions
from distq.wire.framing import Framer
from distq.wire.inert import InertCall
from distq.wire.messages import decode_reply
from distq.worker.executor.current_task import current_of
from distq.worker.executor.declared_schedules import OFF, declarations
from distq.worker.executor.dependencies import with_upstream_results
from distq.worker.executor.exchange import settlement_of
from distq.worker.executor.functions import Functions, failed_by_limit
from distq.worker.executor.handler import RunOutcome

if TYPE_CHECKING:
    from distq.core.task import Task
    from distq.master.cycle.requests import Request
    from distq.net.dial import Connection
    from distq.net.serve import ServerConnection
    from distq.settings import Settings
    from distq.worker.executor.shutdown import ShutdownFlag

LEASE_S: Final = 1e9
"""Seconds of a lease: a task in a debugger keeps its lease."""
SLOTS: Final = 1_000
"""Tasks that run at the same time, each inside the one that has submitted it; also the highest cost of a task."""
CYCLES_MAX: Final = 1_000
"""Maximum cycles until a call is answered; a call that waits for something is answered by none."""
STEPS_MAX: Final = 100_000
"""Maximum runs of tasks and moves of the clock in one call of the client: a task that always snoozes never ends."""
FRAME_BYTES_MAX: Final = 1 << 40
FRAMES_PER_TASK: Final = 250
"""Frames of Python's stack that must be free for a nested task: those of its submits, and some of its own."""
INTERRUPT: Final = "builtins:KeyboardInterrupt"
TOO_DEEP: Final = f"{NestedTooDeep.__module__}:{NestedTooDeep.__qualname__}"

log = logging.getLogger("distq.testing")


class EagerConnection:
    """A peer's connection to the eager master: the part of `ServerConnection` that the dispatcher uses."""

    def __init__(self) -> None:
        self.peer = "this process"
        self.state: object = None
        self.authority = OPERATOR
        self.reads_split = False
        self.open = True
        self.has_called_again = False
        self.body: bytes | None = None
        """The reply to the present call."""

    def reply(self, body: bytes) -> None:
        """Take the reply to the present call."""
        self.body = body

    def reply_parts(self, parts: Sequence[bytes | memoryview]) -> None:
        """Take a reply that comes as the parts of a frame."""
        framer = Framer(FRAME_BYTES_MAX)
        framer.takes_split = True
        (self.body,) = framer.feed(b"".join(parts))

    def is_connected(self) -> bool:
        """Return whether the peer is connected."""
        return self.open

    def abort(self) -> None:
        """End the connection."""
        self.open = False


class EagerMaster:
    """A master, and the executor that runs its tasks in the thread that waits for them."""

    def __init__(self, master: Settings, worker: Settings, epoch: int) -> None:
        self.clock = MovableClock()
        self.submissions = Submissions()
        self.collectors: list[Callable[[], None]] = []
        """Called after each run and each move of the clock: they settle the futures of tasks that have ended."""
        self.lock = threading.RLock()
        """Held while a call is answered."""
        self._running: dict[int, int] = {}
        """The thread in which each task runs, by task."""
        store = RecordingStore(epoch, self.submissions)
        _finish(_follow(store))
        defaults = defaults_of(master)
        self._ledger = Ledger(defaults, random.random, epoch << 40 | 1, Registry(defaults))
        self._broker = Broker(self._ledger, store, self.clock, _ignore)
        self._workers = Workers(self._broker, LEASE_S)
        greeting = Greeting(epoch=epoch, lease_s=LEASE_S, notes=True, frame_bytes_max=master.frame_bytes_max)
        self._dispatcher = Dispatcher(self._broker, self._workers, _no_stats, greeting, master.plain_queues, _ignore)
        self._schedules = worker.schedules
        self._functions = Functions(None, worker.accept, worker.payload_bytes_max, log.warning)
        self._functions.awaits_by(_await)
        hello = WorkerHello(
            worker.pool,
            "",
            0,
            SLOTS,
            list(worker.queues) if worker.queues else None,
            plain=False,
            tasks=True,
            labels=[*(worker.labels or ()), "executor:process", "executor:thread"],
        )
        self.connect(write_worker_hello("eager", "eager", hello))
        self._executor = self.connect(write_executor_hello("eager", "eager", ExecutorHello(1, SLOTS, ())))
        self._upstream = SimpleNamespace(
            call=lambda _ident, method, args, timeout_s: self.call(self._executor, method, *args)  # noqa: ARG005
        )
        """The connection from which the executor reads the results of dependencies."""

    def connect(self, hello: dict[str, object]) -> EagerConnection:
        """Open a connection for a peer that introduces itself so."""
        connection = EagerConnection()
        self.call(connection, HELLO, hello)
        return connection

    def call(self, connection: EagerConnection, method: str, *args: Any) -> Any:
        """Call the broker; raises RemoteRefusal."""
        with self.lock:
            connection.body = None
            line = cast("ServerConnection", connection)
            self._dispatcher.called(line, InertCall(BROKER, method, args, {}, b""))
            for _ in range(CYCLES_MAX):
                if connection.body is not None:
                    return decode_reply(connection.body)
                _finish(self._broker.cycle())
        raise TasksUnfinished(f"The eager master cannot answer {method}(), which waits for another call.")

    def declare_schedules(self, modules: Sequence[str]) -> None:
        """Declare the schedules at the decorators of these modules and their submodules, as a worker does."""
        if self._schedules == OFF:
            return
        rows = declarations(log.warning, modules)
        self.call(
            self._executor,
            ADMIN,
            "schedule_declare",
            {"schedules": rows, "modules": list(modules), "age_s": 0.0, "remove": False},
        )

    # -- facts ---------------------------------------------------------------------------------------

    def lives(self, key: int) -> bool:
        """Whether the master has the task, and it has not ended."""
        task = self._task(key)
        return task is not None and task.state in LIVE_STATES

    def runs(self, key: int) -> bool:
        """Whether the task runs in a thread of this process."""
        return key in self._running

    def runs_elsewhere(self, key: int) -> bool:
        """Whether another thread runs the task."""
        return self._running.get(key, threading.get_ident()) != threading.get_ident()

    def check_stack(self) -> None:
        """Raise NestedTooDeep unless the stack has room for one more task inside those that run in this thread.

        It is called before a submit: the master must not keep a task that no later call of the test can run either.
        """
        nested = sum(thread == threading.get_ident() for thread in self._running.values())
        if not nested:
            return
        frames, frame = 0, inspect.currentframe()
        while frame is not None:
            frames, frame = frames + 1, frame.f_back
        if frames + FRAMES_PER_TASK > sys.getrecursionlimit():
            limit = sys.getrecursionlimit()
            raise NestedTooDeep(
                "The eager mode runs a task that a task submits inside of it, on one stack: "
                f"{counted(nested, 'task')} run inside each other, and Python's limit of {limit:,} frames leaves no "
                "room for one more."
            )

    def why(self, key: int) -> str:
        """Why a task does not run, as `distq why` prints it."""
        task = self._task(key)
        if task is None:
            return "The master does not have it."
        pending = self._ledger.state.dependencies.pending.get(key, 0)
        return explain(task, capacity_for(self._workers, task), instant_text, self.clock.now(), pending)

    def _task(self, key: int) -> Task | None:
        return self._ledger.state.tasks.get(key)

    # -- work ----------------------------------------------------------------------------------------

    def work(self, is_done: Callable[[], bool], until_at: float = float("inf")) -> None:
        """Run tasks in this thread until `is_done`, or no task is left for the time up to `until`.

        The clock moves to the instants at which delayed tasks, retries and scheduled runs are due.
        """
        for _ in range(STEPS_MAX):
            if is_done():
                return
            if self._run_one():
                continue
            at = self._next_due()
            if at is None or at > until_at:
                return
            self.move(at - self.clock.now())
        raise TasksUnfinished(f"After {STEPS_MAX:,} runs of tasks and moves of the clock, there is still work to do.")

    def move(self, by_s: float) -> None:
        """Move the clock forward, and let the master do what is due."""

        def keeps_length(request: Request) -> bool:
            return not request.follows_wall_clock

        with self.lock:
            if by_s > 0:
                self.clock.move(by_s)
                self._broker.shift_waits(by_s, keeps_length)
            self._broker.due_at = float("-inf")
            _finish(self._broker.cycle())
        self._collect()

    def _collect(self) -> None:
        for collect in list(self.collectors):
            collect()

    def _next_due(self) -> float | None:
        """The next instant of the ledger or of a schedule; None if there is none."""
        schedules = self._dispatcher.schedules.known.values()
        instants = [one.progress.next_at for one in schedules if not (one.progress.paused or one.fault)]
        deadline = self._ledger.sweeper.next_deadline()
        return min(instants if deadline is None else [*instants, deadline], default=None)

    def _run_one(self) -> bool:
        """Lease a task and run it here; False if none is ready."""
        with self.lock:
            reply = read_lease_reply(self.call(self._executor, EXCHANGE, [], 1, 0.0))
            rows = reply.rows
            self._running.update((row[0], threading.get_ident()) for row in rows)
        if reply.upstream_counts:
            rows = with_upstream_results(cast("Connection", self._upstream), rows, reply.upstream_counts)
        for row in rows:
            try:
                self._run(row, reply)
            finally:
                del self._running[row[0]]
        return bool(reply.rows)

    def _run(self, row: LeasedTask, reply: LeaseReply) -> None:
        """Run a leased task in this thread, and settle it."""
        key, delivery, _, index, payload = row
        envelope = reply.envelopes[index]

        def send(outcome: int, body: bytes) -> None:
            self.call(self._executor, EXCHANGE, [(key, delivery, outcome, body, 0.0, "")], 0, 0.0)

        def is_stopped() -> bool:
            return not self.lives(key)

        headers, codec = reply.headers.get(key, ()), self._functions.codec
        began = monotonic()
        try:
            run = current_of(row, envelope, None, reply.cursors.get(key), headers, send, _NEVER, codec, is_stopped)
            token = _current.set(run)
            try:
                ran = self._functions.runner_of(envelope[2], envelope[1])(payload)
            finally:
                _current.reset(token)
        except TimeLimitExceeded as error:  # raised by the task itself: this executor has no time limits
            ran = failed_by_limit(error)
        outcome = RunOutcome(Outcome.SUCCESS, ran) if isinstance(ran, bytes) else ran
        self.call(self._executor, EXCHANGE, [settlement_of(row, outcome, monotonic() - began)], 0, 0.0)
        self._collect()
        if outcome.outcome == Outcome.UNKNOWN:
            raise TasksUnfinished(f"Task {id_text(key)}, {envelope[1]}, cannot run in this process: {outcome.text}.")
        failure = unpack_failure(outcome.body) if outcome.outcome == Outcome.FAILURE else None
        if failure is not None and failure.kind == INTERRUPT:
            raise KeyboardInterrupt  # Ctrl-C ends the test, which is this process
        if failure is not None and failure.kind == TOO_DEEP:
            raise NestedTooDeep(failure.text)  # retries of every task around it would never end


_NEVER: Final = cast("ShutdownFlag", SimpleNamespace(is_set=False))
"""This executor is never asked to end while a task runs."""
_current: contextvars.ContextVar[Current | None] = contextvars.ContextVar("distq-eager", default=None)
"""What `distq.current()` returns in the task that runs in this thread or coroutine."""


def find_current() -> Current | None:
    """Find the task that runs in this thread or coroutine."""
    return _current.get()


def _finish(coroutine: Coroutine[Any, Any, Any]) -> None:
    """Run a coroutine of the master to its end: with a store in memory it waits for nothing."""
    try:
        coroutine.send(None)
    except StopIteration:
        return
    coroutine.close()
    raise AssertionError("a cycle of the eager master waits")


async def _follow(store: RecordingStore) -> None:
    async for _ in store.follow("eager"):
        pass


def _no_stats(what: str, _after: str | None) -> object:
    raise KeyError(what)


def _ignore(*_: object) -> None:
    """Take a note that is for operators."""


def _await(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Await on a new event loop, in another thread if this one runs a loop."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(coroutine)
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(contextvars.copy_context().run, asyncio.run, coroutine).result()
