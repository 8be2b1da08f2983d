"""The client: functions in, futures out.

Submits made in a loop travel in batches without anybody waiting for a clock: while one batch is under way the
next gathers. A lone submit leaves at once.
"""

from __future__ import annotations

import atexit
import itertools
import os
import secrets
import socket
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from typing import Any, Final, ParamSpec, TypeVar

from distq.client.future import TaskFuture, settle_all
from distq.client.link import Link, Where
from distq.client.outbox import Outbox, Sending
from distq.core.errors import DistqError, PayloadTooLarge
from distq.net.dial import CannotReach
from distq.settings import Role, Settings, load
from distq.tasks.failure import TaskLost
from distq.tasks.function import TaskSpec, spec_of
from distq.tasks.payload import PROTOCOL, pack_call, pack_chunk

P = ParamSpec("P")
R = TypeVar("R")

RESULTS_WAIT_S: Final = 20.0
"""How long one call for results waits at the master."""
_now = time.monotonic  # noqa: TID251 - the edge: a caller's deadlines


class RefusedSubmit(DistqError):
    """The master did not take the task; `code` says why."""

    def __init__(self, code: str, sentence: str) -> None:
        super().__init__(sentence)
        self.code = code  # type: ignore[misc] # one word of the master's, not of this class


class Client(Executor):
    """Submits functions to a distq master; a `concurrent.futures.Executor`.

        with distq.Client() as client:
            future = client.submit(add, 1, b=2)
            print(future.result(timeout=5))

    Args:
        address: `host:port`, or several separated by commas; the default is DISTQ_ADDRESS.
        authkey: the key; the default is DISTQ_AUTHKEY or DISTQ_AUTHKEY_FILE.

    Raises:
        SettingsError: a setting is wrong, or there is no key.
    """

    def __init__(self, address: str | None = None, authkey: str | bytes | None = None) -> None:
        settings = _settings(address, authkey)
        self._settings = settings
        self._lock = threading.Lock()
        self._outbox = Outbox()
        self._specs: dict[Callable[..., Any], TaskSpec] = {}
        self._awaited: dict[int, TaskFuture[Any]] = {}
        self._early: dict[int, tuple[int, bytes | None, list[str] | None]] = {}
        """Outcomes that came before the answer to their submit."""
        self._closing = False
        self._threads: list[threading.Thread] = []
        self._idle = threading.Condition(self._lock)
        where = Where(
            addresses=tuple((one.host, one.port) for one in settings.address),
            authkey=settings.authkeys[0],
            session=secrets.token_hex(16),
            name=f"{socket.gethostname()}-{os.getpid()}",
            frame_bytes_max=settings.frame_bytes_max,
            reconnect_max_s=settings.reconnect_max_s,
        )
        self._submits = Link(where, self._greeted)
        self._results = Link(where, self._greeted)
        _clients.add(self)

    # -- what a program calls ------------------------------------------------------------------

    def submit(self, fn: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> TaskFuture[R]:
        """Have `fn(*args, **kwargs)` run by a worker; return its future at once.

        Blocks while 10,000 tasks wait to be accepted, and up to DISTQ_CONNECT_WAIT_S while no master is there.

        Raises:
            NotATask: a worker could not import the function.
            PayloadTooLarge: the arguments have more bytes than DISTQ_PAYLOAD_BYTES_MAX.
            CannotReach: no master is there.
        """
        spec = self._specs.get(fn)
        if spec is None:
            spec = self._specs[fn] = spec_of(fn)
        return self._send(spec, pack_call((args, kwargs), PROTOCOL))

    def map(
        self,
        fn: Callable[..., R],
        *iterables: Iterable[Any],
        timeout: float | None = None,
        chunksize: int = 1,
    ) -> Iterator[R]:
        """As `Executor.map`: submit all at once, yield the results in order.

        With a `chunksize` above 1 so many calls travel and run as one task: it is retried as one, too.

        Raises:
            TimeoutError: a result is not there within `timeout` seconds of this call.
        """
        if chunksize < 1:
            raise ValueError(f"chunksize is at least 1, not {chunksize}")
        deadline = None if timeout is None else _now() + timeout
        spec = spec_of(fn)
        rows = zip(*iterables, strict=False)
        if chunksize == 1:
            singles: list[TaskFuture[Any]] = [self._send(spec, pack_call((row, {}), PROTOCOL)) for row in rows]
            return (result for result in _in_order(singles, deadline))
        chunks: list[TaskFuture[Any]] = []
        while chunk := list(itertools.islice(rows, chunksize)):
            chunks.append(self._send(spec, pack_chunk(chunk)))
        return itertools.chain.from_iterable(_in_order(chunks, deadline))

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more submits; with `wait`, return when every future has its outcome.

        `cancel_futures` cancels what is not sent yet.
        """
        with self._lock:
            self._closing = True
        if cancel_futures:
            for sending in self._outbox.take_all():
                sending.future.cancel()
        if wait and self._threads:
            with self._idle:
                self._idle.wait_for(lambda: not self._awaited and not self._outbox)
        self._close()

    # -- inside --------------------------------------------------------------------------------

    def _send(self, spec: TaskSpec, body: bytes) -> TaskFuture[Any]:
        if len(body) > self._settings.payload_bytes_max:
            raise PayloadTooLarge(
                f"the arguments have {len(body):,} bytes, and {self._settings.payload_bytes_max:,} are allowed."
            )
        if not self._threads or self._closing:
            self._start()
        outbox = self._outbox
        if outbox.full or self._submits.failure is not None:
            self._wait_for_master()
        future: TaskFuture[Any] = TaskFuture()
        future._outbox = outbox  # noqa: SLF001 - the future's other half
        outbox.put(Sending(spec, body, future))
        return future

    def _start(self) -> None:
        with self._lock:
            if self._closing:
                raise RuntimeError("cannot submit: this client was shut down")
            if self._threads:
                return
            self._threads = [
                threading.Thread(target=loop, name=f"distq-{name}", daemon=True)
                for name, loop in (("submits", self._send_batches), ("results", self._collect))
            ]
        for thread in self._threads:
            thread.start()

    def _wait_for_master(self) -> None:
        """Block until there is room and a master, for as long as the settings allow; then raise."""
        deadline = _now() + self._settings.connect_wait_s
        while not self._outbox.wait_for_room(min(deadline - _now(), 0.1)) or self._submits.failure is not None:
            failure = self._submits.failure
            if failure is not None and (failure.code == "AUTHENTICATION_FAILED" or _now() >= deadline):
                raise failure
            if failure is None:
                deadline = _now() + self._settings.connect_wait_s

    def _send_batches(self) -> None:
        """The thread that submits."""
        number = 0
        while (batch := self._outbox.next_batch()) is not None:
            number += 1
            try:
                accepted = self._submits.call(
                    "submit", (number, *_packed(batch), self._settings.connect_wait_s), self._settings.connect_wait_s
                )
            except DistqError as error:
                self._submits.failure = None if error.code == "REFUSED" else error
                self._refuse(batch, error)
                continue
            if accepted[0]:
                self._accept(batch, accepted[1])
            else:
                self._refuse(batch, RefusedSubmit(accepted[1], accepted[2]))

    def _accept(self, batch: Sequence[Sending], first: int) -> None:
        early: list[tuple[TaskFuture[Any], int, bytes | None, list[str] | None]] = []
        with self._lock:
            for key, sending in enumerate(batch, first):
                future = sending.future
                future.key = key
                self._awaited[key] = future
            if self._early:
                here = [key for key in range(first, first + len(batch)) if key in self._early]
                early += [(self._awaited.pop(key), *self._early.pop(key)) for key in here]
            self._outbox.sent(len(batch))
        self._settle(early)

    def _refuse(self, batch: Sequence[Sending], error: DistqError) -> None:
        with self._lock:
            self._outbox.sent(len(batch))
        for sending in batch:
            sending.future.fail(error)
        self._settle(())

    def _collect(self) -> None:
        """The thread that fetches results."""
        number = 0
        while not self._results.closed:
            try:
                number, rows = self._results.call("results", (number, RESULTS_WAIT_S), RESULTS_WAIT_S)
            except DistqError as error:
                if self._results.closed:
                    return
                self._lose(error)
                return
            known = []
            with self._lock:
                awaited = self._awaited
                for key, state, body, causes in rows:
                    future = awaited.pop(key, None)
                    if future is None:
                        self._early[key] = (state, body, causes)
                    else:
                        known.append((future, state, body, causes))
            self._settle(known)

    def _settle(self, rows: Sequence[tuple[TaskFuture[Any], int, bytes | None, list[str] | None]]) -> None:
        settle_all(rows)
        if self._closing:
            with self._idle:
                self._idle.notify_all()

    def _greeted(self, greeting: Mapping[str, Any]) -> None:
        """A master that keeps nothing knows nothing of the tasks that the one before had accepted."""
        if not greeting.get("durable"):
            with self._lock:
                lost = [key for key in self._awaited if key >> 40 != greeting["epoch"]]
                futures = [self._awaited.pop(key) for key in lost]
            for future in futures:
                future.fail(TaskLost(f"task {future.task_id}: the master that had it was restarted without a store."))
            self._settle(())

    def _lose(self, error: DistqError) -> None:
        """Results cannot be had any more: nobody shall wait for them."""
        with self._lock:
            futures = list(self._awaited.values())
            self._awaited.clear()
        for future in futures:
            future.fail(error)
        self._settle(())

    def _close(self) -> None:
        self._outbox.close()
        self._submits.close()
        self._results.close()
        for sending in self._outbox.take_all():
            sending.future.fail(CannotReach("the client was closed before the task was sent."))
        _clients.discard(self)

    def _flush(self) -> None:
        """Called when the interpreter ends: what was submitted shall be accepted."""
        if self._outbox:
            self._outbox.wait_until_empty(self._settings.connect_wait_s)
        self._close()


_clients: weakref.WeakSet[Client] = weakref.WeakSet()


@atexit.register
def _flush_all() -> None:
    for client in list(_clients):
        client._flush()  # noqa: SLF001 - this module's own


def _settings(address: str | None, authkey: str | bytes | None) -> Settings:
    given = {}
    if address is not None:
        given["DISTQ_ADDRESS"] = address
    if authkey is not None:
        given["DISTQ_AUTHKEY"] = authkey if isinstance(authkey, str) else authkey.decode()
    dotenv = ".env" if os.path.isfile(".env") else None  # noqa: PTH113 - pathlib costs a client's start 4 ms
    return load({**os.environ, **given}, Role.CLIENT, dotenv=dotenv).settings


def _packed(batch: Sequence[Sending]) -> tuple[list[tuple[object, ...]], list[tuple[int, int]], list[bytes]]:
    """A batch as `submit` sends it: envelopes once each, runs of (envelope, how many), bodies."""
    envelopes: dict[TaskSpec, int] = {}
    runs: list[tuple[int, int]] = []
    for spec, group in itertools.groupby(batch, key=_spec_of_sending):
        index = envelopes.setdefault(spec, len(envelopes))
        runs.append((index, sum(1 for _ in group)))
    return [spec.envelope for spec in envelopes], runs, [sending.body for sending in batch]


def _spec_of_sending(sending: Sending) -> TaskSpec:
    return sending.spec


def _in_order(futures: list[TaskFuture[Any]], deadline: float | None) -> Iterator[Any]:
    futures.reverse()
    try:
        while futures:
            # Popped first, so that a result that was read can be freed.
            future = futures.pop()
            yield future.result(None if deadline is None else max(deadline - _now(), 0.0))
    finally:
        for future in futures:
            future.cancel()
