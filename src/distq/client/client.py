"""The client: functions in, futures out."""

from __future__ import annotations

import os
import weakref
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Literal, Unpack

from distq.client.chains import Planned
from distq.client.future import TaskFuture
from distq.client.lazy_future import renew_lock
from distq.client.outbox import SubmitOptions
from distq.client.session import ClientRuntime
from distq.client.submitter import Submitter, bare
from distq.client.timeouts import Timeout, timeout_s
from distq.core.errors import DistqError
from distq.core.task_ids import task_key_of
from distq.settings import Address, Role, Settings, load
from distq.tasks import access
from distq.tasks.options import SubmitKeywords, checked_to_send


class Client(Submitter):
    """Submits functions to a distq master; a `concurrent.futures.Executor`.

        with distq.Client() as client:
            future = client.submit(add, 1, b=2)
            print(future.result(timeout=5))

    It may be used by many threads. After a fork it works in the child too, with a session of its own; futures from
    before the fork are the parent's, and raise FutureOfParent. Its threads and connections end with the last reference
    to it and to its futures that have no outcome.

    Args:
        address: `host:port`, or several separated by commas; the default is DISTQ_ADDRESS, in a task its worker's.
        authkey: the key; the default is DISTQ_AUTHKEY or DISTQ_AUTHKEY_FILE, in a task its worker's.
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
        super().__init__({})
        self._finalizer: weakref.finalize[Any, Any] | None = None
        self._begin()
        _clients.add(self)

    def _begin(self) -> None:
        """Begin a session."""
        self._session = session = ClientRuntime(self._settings)
        if self._finalizer is not None:
            self._finalizer.detach()
        # Threads and connections end with the last reference to the client, and to its futures that have no outcome.
        self._finalizer = weakref.finalize(self, session.release)
        self._finalizer.atexit = False
        self._send = self._session.send  # type: ignore[method-assign] # one call less for each task
        self._send_together = self._session.send_together  # type: ignore[method-assign] # as above

    # -- what a program calls ------------------------------------------------------------------

    def options(self, **options: Unpack[SubmitKeywords]) -> Submitter:
        """The same client with other options for the tasks that are submitted through it; they win over a decorator's.

            client.options(queue="mail", priority=9, delay=30).submit(send, "joe")

        Args:
            **options: fields of `distq.tasks.options.Options`; docs/reference/api.md lists their units and defaults. A
                duration is a number of seconds, a timedelta, or a text such as `30s` or `1h30m`.

        Raises:
            TypeError: there is no such option, only decorators take it (retry_for, no_retry_for), or a value has a
                wrong type. The methods of the returned client raise it for an option that has no effect on them.
            ValueError: a value is out of range.
        """
        checked_to_send(options)
        return WithOptions(self, options)

    def future(self, task_id: str) -> TaskFuture[Any]:
        """The future of a task by its id, whichever client submitted it.

        Raises:
            ValueError: that is not how a task id is written.
            CannotReach: no master is there.
        """
        key = task_key_of(task_id)
        try:
            return self._session.follow(key)
        except DistqError as error:
            raise bare(error) from error.__cause__

    def result(self, task_id: str, timeout: Timeout = None) -> Any:
        """The result of a task by its id, whichever client submitted it; waits until `timeout` for it.

        Raises what `TaskFuture.result` raises: TaskLost if the master does not know the task (any more); and what
        `future` raises.
        """
        return self.future(task_id).result(timeout)

    def _administer(self, action: str, arguments: Mapping[str, Any]) -> Any:
        return self._session.administer(action, arguments)

    def flush(self, timeout: Timeout = None) -> bool:
        """Wait until everything submitted so far was accepted; False if not all of it was.

        That is: if `timeout` seconds are over first, or if submits were refused since the last flush and no code has
        looked at their futures. A line of the logger `distq` says why the last of them was.
        """
        return self._session.flush(timeout_s(timeout))

    @property
    def refused(self) -> int:
        """How many submits were refused, or could not be sent."""
        return self._session.refusals.count

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> Literal[False]:
        """Shut down, as `shutdown()`; after an exception wait until all was accepted, and for no result."""
        if kind is None:
            self.shutdown()
        else:
            self._session.leave_block()
        return False

    def abandon(self) -> None:
        """Close immediately; accepted tasks run, and this client does not wait for their results."""
        self._session.close()

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more submits; with `wait`, return when every future has its outcome.

        Without it results go on to arrive while the program runs. `cancel_futures` cancels what has not begun.
        """
        self._session.shutdown(wait=wait, cancel=cancel_futures)


class WithOptions(Submitter):
    """A client seen with other options; it is the client that is shut down."""

    def __init__(self, client: Client, options: Mapping[str, Any]) -> None:
        super().__init__(options)
        self._client = client

    def _send(self, options: SubmitOptions, body: bytes) -> TaskFuture[Any]:
        return self._client._send(options, body)  # noqa: SLF001 - one noun, seen in two ways

    def _send_together(self, tasks: Sequence[Planned]) -> TaskFuture[Any]:
        return self._client._send_together(tasks)  # noqa: SLF001 - as above

    def _administer(self, action: str, arguments: Mapping[str, Any]) -> Any:
        return self._client._administer(action, arguments)  # noqa: SLF001 - as above

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Do nothing: the client goes on, and is shut down itself."""


_clients: weakref.WeakSet[Client] = weakref.WeakSet()


def _begin_anew() -> None:
    """After a fork: threads and connections are the parent's."""
    renew_lock()
    for client in list(_clients):
        client._session.disown()  # noqa: SLF001 - this module's own
        client._begin()  # noqa: SLF001


os.register_at_fork(after_in_child=_begin_anew)


def _settings(address: str | None, authkey: str | bytes | None) -> Settings:
    given = _of_worker()
    if address is not None:
        given["DISTQ_ADDRESS"] = address
    if authkey is not None:
        given["DISTQ_AUTHKEY"] = authkey if isinstance(authkey, str) else authkey.decode()
    dotenv = ".env" if os.path.isfile(".env") else None  # noqa: PTH113 - pathlib costs a client's start 4 ms
    return load({**os.environ, **given}, Role.CLIENT, dotenv=dotenv).settings


def _of_worker() -> dict[str, str]:
    """In a task: where the worker's master is, and its key, which the environment of a task does not have."""
    there = access.access
    if there is None:
        return {}
    return {
        "DISTQ_ADDRESS": ",".join(str(Address(*one)) for one in there.addresses),
        "DISTQ_AUTHKEY": there.authkey.decode(),
        "DISTQ_FRAME_BYTES_MAX": str(there.frame_bytes_max),
        "DISTQ_PAYLOAD_BYTES_MAX": str(there.payload_bytes_max),
        "DISTQ_RECONNECT_MAX_S": str(there.reconnect_max_s),
    }
