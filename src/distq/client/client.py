"""The client: functions in, futures out."""

from __future__ import annotations

import itertools
import os
import time
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from typing import Any, NoReturn, ParamSpec, TypeVar

from distq.client.future import TaskFuture, renew_lock
from distq.client.outbox import Envelope
from distq.client.session import Session
from distq.core.errors import DistqError
from distq.settings import Role, Settings, load
from distq.tasks.function import Options, TaskSpec, path_of, spec_of
from distq.tasks.payload import PROTOCOL, pack_call, pack_chunk, pack_json

P = ParamSpec("P")
R = TypeVar("R")

_now = time.monotonic  # noqa: TID251 - the edge: a caller's deadlines


class NotPicklable(DistqError, TypeError):
    """The arguments cannot be sent to another process."""

    code = "NOT_PICKLABLE"
    hint = "Pass what a worker can make it from (a path, a name, plain values) instead."
    exit_code = 2


class Client(Executor):
    """Submits functions to a distq master; a `concurrent.futures.Executor`.

        with distq.Client() as client:
            future = client.submit(add, 1, b=2)
            print(future.result(timeout=5))

    It may be used by many threads. After a fork it works in the child too, with a session of its own; futures from
    before the fork are the parent's.

    Args:
        address: `host:port`, or several separated by commas; the default is DISTQ_ADDRESS.
        authkey: the key; the default is DISTQ_AUTHKEY or DISTQ_AUTHKEY_FILE.
        settings: all settings, read already; without them the environment and `.env` are read.

    Raises:
        SettingsError: a setting is wrong, or there is no key.
    """

    def __init__(
        self,
        address: str | None = None,
        authkey: str | bytes | None = None,
        *,
        settings: Settings | None = None,
    ) -> None:
        self._settings = _settings(address, authkey) if settings is None else settings
        self._specs: dict[Callable[..., Any], Envelope] = {}
        self._begin()
        _clients.add(self)

    def _begin(self) -> None:
        """Begin a session."""
        self._session = Session(self._settings)
        self._send = self._session.send

    # -- what a program calls ------------------------------------------------------------------

    def submit(self, fn: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> TaskFuture[R]:
        """Have `fn(*args, **kwargs)` run by a worker; return its future at once.

        Blocks while 10,000 tasks wait to be accepted, and up to DISTQ_CONNECT_WAIT_S while no master is there.

        Raises:
            NotATask: a worker could not import the function.
            NotPicklable: the arguments cannot be pickled.
            PayloadTooLarge: the arguments have more bytes than DISTQ_PAYLOAD_BYTES_MAX.
            CannotReach: no master is there.
            AuthenticationFailed: the master has another key.
        """
        try:
            envelope = self._specs[fn]
        except (KeyError, TypeError):  # not submitted yet, or not hashable, which no function is
            envelope = self._known(fn)
        try:
            body = pack_call((args, kwargs), PROTOCOL)
        except Exception as error:  # noqa: BLE001 - whatever the arguments' classes do when they are pickled
            _refuse_arguments(fn, error)
        return self._send(envelope, body)

    def submit_named(
        self, name: str, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None, *, queue: str = "default"
    ) -> TaskFuture[Any]:
        """Have the task of that name run, with arguments in JSON, and return its future at once.

        The name is one that `@distq.task` gave or an import path, `module:function`; it is not imported here. Raises
        as `submit` does.
        """
        try:
            body = pack_json(args, kwargs or {})
        except (TypeError, ValueError, RecursionError) as error:
            raise NotPicklable(f"The arguments of {name} have no form in JSON: {error}.") from error
        return self._send(TaskSpec(name, Options(queue=queue)).envelope, body)

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
        rows = zip(*iterables, strict=False)
        if chunksize == 1:
            singles: list[TaskFuture[Any]] = [self.submit(fn, *row) for row in rows]
            return (result for result in _in_order(singles, deadline))
        envelope = self._known(fn)
        chunks: list[TaskFuture[Any]] = []
        while chunk := list(itertools.islice(rows, chunksize)):
            try:
                body = pack_chunk(chunk)
            except Exception as error:  # noqa: BLE001 - as in submit
                _refuse_arguments(fn, error)
            chunks.append(self._send(envelope, body))
        return itertools.chain.from_iterable(_in_order(chunks, deadline))

    def flush(self, timeout: float | None = None) -> bool:
        """Wait until everything submitted so far was accepted or refused; False if `timeout` seconds are over first."""
        return self._session.flush(timeout)

    def abandon(self) -> None:
        """Close at once; what is accepted runs on, and nobody waits for its results."""
        self._session.close()

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more submits; with `wait`, return when every future has its outcome.

        Without it results go on to arrive while the program runs. `cancel_futures` cancels what is not sent yet.
        """
        self._session.shutdown(wait=wait, cancel=cancel_futures)

    def _known(self, fn: Callable[..., Any]) -> Envelope:
        envelope = self._specs[fn] = spec_of(fn).envelope
        return envelope


_clients: weakref.WeakSet[Client] = weakref.WeakSet()


def _begin_anew() -> None:
    """After a fork: threads and connections are the parent's."""
    renew_lock()
    for client in list(_clients):
        client._session.disown()  # noqa: SLF001 - this module's own
        client._begin()  # noqa: SLF001


os.register_at_fork(after_in_child=_begin_anew)


def _refuse_arguments(fn: Callable[..., Any], error: Exception) -> NoReturn:
    raise NotPicklable(f"The arguments of {path_of(fn)} cannot be pickled: {error}.") from error


def _settings(address: str | None, authkey: str | bytes | None) -> Settings:
    given = {}
    if address is not None:
        given["DISTQ_ADDRESS"] = address
    if authkey is not None:
        given["DISTQ_AUTHKEY"] = authkey if isinstance(authkey, str) else authkey.decode()
    dotenv = ".env" if os.path.isfile(".env") else None  # noqa: PTH113 - pathlib costs a client's start 4 ms
    return load({**os.environ, **given}, Role.CLIENT, dotenv=dotenv).settings


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
