"""`distq.Client`: submits functions to a master, and gives futures of their tasks."""

from __future__ import annotations

import functools
import logging
import os
import weakref
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, Literal, Unpack, cast

from distq.client.by_value import ByValueSender
from distq.client.chains import Planned
from distq.client.encoder import bare
from distq.client.forks import at_fork, notice
from distq.client.future import TaskFuture
from distq.client.lazy_future import renew_lock
from distq.client.outbox import SubmitOptions, check_size
from distq.client.seals import opened_facts
from distq.client.session import ClientRuntime
from distq.client.session_port import MakeSession, SessionPort
from distq.client.session_stage import described, described_html
from distq.client.submitter import Submitter
from distq.client.timeouts import Timeout, timeout_s
from distq.core.errors import DistqError
from distq.core.option_values import ACCEPT_JSON
from distq.core.ranges import shown
from distq.core.task_ids import task_key_of
from distq.settings import Address, Role, Settings, SettingsError, load
from distq.settings.authkey import HOW_TO_MAKE_ONE
from distq.settings.payload_keys import FIELDS
from distq.tasks import access
from distq.tasks.options import SubmitKeywords, checked_to_send


class Client(Submitter):
    """Submits functions to a distq master; a `concurrent.futures.Executor`.

        with distq.Client() as client:
            future = client.submit(add, 1, b=2)
            print(future.result(timeout=5))

    Several threads may use one client. After a fork, the client works in the child process too, with a session of its
    own; a future from before the fork raises FutureOfParent there. The client's threads and connections end with the
    last reference to the client and to its futures without an outcome.

    Args:
        address: `host:port`, or several separated by commas; the default is DISTQ_ADDRESS, in a task the address of the
            worker's master.
        authkey: the key; the default is DISTQ_AUTHKEY or DISTQ_AUTHKEY_FILE, in a task the key of the worker.
        settings: the settings; by default the client reads the environment and the file `.env`.
        wait_at_exit: whether the end of the program waits until every future has its outcome, as with the executors of
            the standard library. It always waits until the master has accepted every submit.
        by_value: whether functions, classes and arguments that workers cannot import (of `__main__`, of a notebook,
            lambdas, closures, partials, bound methods) are sent as their code; needs the extra `distq[cloudpickle]` in
            the program and in its workers, and the same minor version of Python.

    Raises:
        SettingsError: a setting is invalid, or no key is set.
        ExtraMissing: `by_value` is true, and cloudpickle is not installed.
    """

    def __init__(
        self,
        address: str | None = None,
        authkey: str | bytes | None = None,
        *,
        settings: Settings | None = None,
        wait_at_exit: bool = True,
        by_value: bool = False,
    ) -> None:
        self._settings = settings_of(address, authkey, settings)
        super().__init__({})
        self._json_only = self._settings.accept == ACCEPT_JSON
        self._by_value = ByValueSender(self._settings.payload_bytes_max) if by_value else None
        self._waits_at_exit = wait_at_exit
        self._finalizer: weakref.finalize[Any, Any] | None = None
        self._begin()
        _clients.add(self)

    def _begin(self) -> None:
        """Begin a session with the master."""
        session = _make_session(self._settings, waits_at_exit=self._waits_at_exit)
        self._own_session = cast("ClientRuntime", session)
        if self._finalizer is not None:
            self._finalizer.detach()
        # Threads and connections end with the last reference to the client and to its futures without an outcome.
        self._finalizer = weakref.finalize(self, session.release)
        self._finalizer.atexit = False

    @property
    def _session(self) -> ClientRuntime:
        notice()
        return self._own_session

    def _send(self, options: SubmitOptions, body: bytes) -> TaskFuture[Any]:
        notice()
        return self._own_session.send(options, body)

    def _send_together(self, tasks: Sequence[Planned]) -> TaskFuture[Any]:
        return self._session.send_together(tasks)

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
            ValueError: the text is not a task id.
            CannotReach: no master answers within DISTQ_CONNECT_WAIT_S.
        """
        task_key = task_key_of(task_id)
        try:
            return self._session.follow(task_key)
        except DistqError as error:
            raise bare(error) from error.__cause__

    def result(self, task_id: str, timeout: Timeout = None) -> Any:
        """The result of a task by its id, whichever client submitted it; waits until `timeout` for it.

        Raises what `future` and `TaskFuture.result` raise: TaskUnknown if the master does not have the task.
        """
        return self.future(task_id).result(timeout)

    def _administer(self, action: str, arguments: Mapping[str, Any]) -> Any:
        return self._session.administer(action, arguments)

    def flush(self, timeout: Timeout = None) -> bool:
        """Wait until the master has accepted every task that was submitted so far; returns whether it has.

        Returns False if the timeout ends first, or if the master refused a submit since the last flush and the program
        has not read the error from its future. The logger `distq` writes the reason of the last refusal.
        """
        return self._session.flush(timeout_s(timeout))

    @property
    def refused(self) -> int:
        """How many submits the master refused, or the client could not send."""
        return self._session.refusals.count

    def __repr__(self) -> str:
        """Where the master is, and what this client is doing, as far as it knows."""
        return described(type(self).__name__, self._session.addresses, self._session.stage, {})

    def _repr_html_(self) -> str:
        """The same for a notebook."""
        return described_html(type(self).__name__, self._session.addresses, self._session.stage, {})

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> Literal[False]:
        """Shut down, as `shutdown()`; after an exception wait only until the master has accepted every submit."""
        if kind is None:
            self.shutdown()
        else:
            self._session.leave_block()
        return False

    def abandon(self) -> None:
        """Close immediately; accepted tasks run, and this client does not wait for their results."""
        self._session.close()

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Accept no more submits; with `wait`, return when every future has its outcome.

        Without `wait`, results continue to arrive while the program runs. `cancel_futures` cancels the tasks that no
        executor has begun.
        """
        self._session.shutdown(wait=wait, cancel=cancel_futures)


class WithOptions(Submitter):
    """A client with other options for its submits; the client itself is shut down separately."""

    def __init__(self, client: Client, options: Mapping[str, Any]) -> None:
        super().__init__(options)
        self._client = client
        self._by_value, self._json_only = client._by_value, client._json_only  # noqa: SLF001 - the same client with other options

    def _send(self, options: SubmitOptions, body: bytes) -> TaskFuture[Any]:
        return self._client._send(options, body)  # noqa: SLF001 - the same client with other options

    def _send_together(self, tasks: Sequence[Planned]) -> TaskFuture[Any]:
        return self._client._send_together(tasks)  # noqa: SLF001 - as above

    def _administer(self, action: str, arguments: Mapping[str, Any]) -> Any:
        return self._client._administer(action, arguments)  # noqa: SLF001 - as above

    def __repr__(self) -> str:
        """The client, and its options."""
        session = self._client._session  # noqa: SLF001 - as above
        return described(type(self._client).__name__, session.addresses, session.stage, self._options)

    def _repr_html_(self) -> str:
        """The same for a notebook."""
        session = self._client._session  # noqa: SLF001 - as above
        return described_html(type(self._client).__name__, session.addresses, session.stage, self._options)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Do nothing: the client is shut down separately."""


def facts_of(client: Client, task_id: str) -> dict[str, Any]:
    """All facts that the master has about a task, with its payload and its outcome as bytes; for an integration.

    Raises:
        RemoteRefusal: the master does not know the task.
        SealRefused: its payload or its outcome is not signed, or encrypted with a key that the client lacks.
        CannotReach: no master answered within DISTQ_CONNECT_WAIT_S.
    """
    return opened_facts(client._settings, client._administer("show", {"id": task_id, "bodies": True}))  # noqa: SLF001 - this module's own


def facts_of_unique(client: Client, queue: str, unique_key: str) -> dict[str, Any]:
    """The same about the task that has a unique key, or had it last, until the master drops that task.

    Without the option `unique_for` a task has its unique key only until it ends.
    """
    asked = {"queue": queue, "unique_key": unique_key, "bodies": True}
    return opened_facts(client._settings, client._administer("show", asked))  # noqa: SLF001 - this module's own


def submit_later(submitter: Submitter, fn: Callable[..., Any], *args: Any) -> Callable[[], TaskFuture[Any]]:
    """Check and encode a call as `submit` does, for an integration; the function that it returns submits the call."""
    client = submitter if isinstance(submitter, Client) else getattr(submitter, "_client", None)
    options, body = submitter._encoded(fn, args, {})  # noqa: SLF001 - this module's own
    if isinstance(client, Client):
        check_size(body, client._settings.payload_bytes_max)  # noqa: SLF001
    return functools.partial(submitter._send, options, body)  # noqa: SLF001


def submit_encoded(client: Client, options: SubmitOptions, body: bytes) -> TaskFuture[Any]:
    """Submit a call that was encoded before, for an integration; blocks and raises as `Client.submit` does."""
    return client._send(options, body)  # noqa: SLF001 - this module's own


def beside(submitter: Submitter, options: SubmitKeywords) -> tuple[Submitter, int]:
    """The client of a submitter with other options in the same queue, and its DISTQ_PAYLOAD_BYTES_MAX.

    For an integration that submits tasks of its own. Raises TypeError for an object that is no client.
    """
    client = submitter if isinstance(submitter, Client) else getattr(submitter, "_client", None)
    if not isinstance(client, Client):
        raise TypeError(f"a client is a distq.Client, or client.options(...), not {submitter!r}")
    queue = submitter._options.get("queue")  # noqa: SLF001 - the same client
    in_queue: SubmitKeywords = {**options, "queue": queue}
    return client.options(**in_queue), client._settings.payload_bytes_max  # noqa: SLF001 - as above


_clients: weakref.WeakSet[Client] = weakref.WeakSet()
_make_session: MakeSession = ClientRuntime
_logged: set[str] = set()
"""The warnings about settings that clients of this process have logged."""
log = logging.getLogger("distq")


def exchange_make_session(make_session: MakeSession) -> MakeSession:
    """Give the clients that this process makes from now on other sessions; returns what made them before.

    `distq.testing` uses it.
    """
    global _make_session
    before, _make_session = _make_session, make_session
    return before


def sessions_at(address: Address) -> list[SessionPort]:
    """The sessions of this process's clients that use this address."""
    sessions: list[SessionPort] = [client._own_session for client in list(_clients)]  # noqa: SLF001 - this module's own
    return [session for session in sessions if address in session.addresses]


def _begin_anew() -> None:
    """Begin new sessions after a fork: threads and connections stay with the parent process."""
    renew_lock()
    for client in list(_clients):
        client._own_session.disown()  # noqa: SLF001 - this module's own
        client._begin()  # noqa: SLF001


at_fork(_begin_anew)


def sessions_are_replaced() -> bool:
    """Whether clients of this process get other sessions than those with a master, as in `distq.testing.eager`."""
    return _make_session is not ClientRuntime


def _warn_once(sentences: Sequence[str]) -> None:
    """Log the warnings about settings that this process has not logged before: a program may make many clients."""
    for sentence in sentences:
        if sentence not in _logged:
            _logged.add(sentence)
            log.warning("%s", sentence)


def settings_of(address: object, authkey: object, settings: object) -> Settings:
    """The settings of a client with these arguments; raises TypeError or SettingsError."""
    if settings is not None and not isinstance(settings, Settings):
        raise TypeError(f"settings are those of distq.settings.load(...).settings, not {shown(settings)}")
    if settings is not None:
        return settings
    given = _of_worker()
    if address is not None:
        given["DISTQ_ADDRESS"] = _address_text(address)
    if authkey is not None:
        given["DISTQ_AUTHKEY"] = _key_text(authkey)
    dotenv = ".env" if os.path.isfile(".env") else None  # noqa: PTH113 - pathlib costs a client's start 4 ms
    settings, warnings, _ = load({**os.environ, **given}, Role.CLIENT, dotenv=dotenv)
    if access.access is None:  # the worker has logged those of its environment
        _warn_once(warnings)
    return settings


def _address_text(address: object) -> str:
    """The address that a program gives; raises TypeError if it is no text."""
    if isinstance(address, str):
        return address
    raise TypeError(
        f"address is a text, host:port, such as 'localhost:9000', or several separated by commas, not {shown(address)}"
    )


def _key_text(authkey: object) -> str:
    """The key that a program gives; raises TypeError or SettingsError, which never show it."""
    if not isinstance(authkey, str | bytes | bytearray | memoryview):
        hint = "; DISTQ_AUTHKEY_FILE names a file with the key" if isinstance(authkey, os.PathLike) else ""
        raise TypeError(f"authkey is the key as text or bytes, not a {type(authkey).__name__}{hint}")
    try:
        text = authkey if isinstance(authkey, str) else bytes(authkey).decode()
    except UnicodeDecodeError:
        raise SettingsError(f"authkey has bytes that are no text in UTF-8. {HOW_TO_MAKE_ONE}.") from None
    if not text.strip():
        raise SettingsError(f"authkey is empty. {HOW_TO_MAKE_ONE}.")
    return text


def _of_worker() -> dict[str, str]:
    """In a task: where the worker's master is, and its key, which the environment of a task does not have."""
    task_access = access.access
    if task_access is None:
        return {}
    keys: dict[str, str] = {}
    for field, name in {"authkeys": "DISTQ_AUTHKEY", **FIELDS}.items():
        path = task_access.key_files.get(field)
        if path is None:
            keys[name] = b",".join(getattr(task_access, field)).decode()
        else:  # read again now: the file may have changed since the executor's start
            keys |= {name: "", f"{name}_FILE": path}
    names = ("DISTQ_TLS_CERT", "DISTQ_TLS_KEY", "DISTQ_TLS_CA", "DISTQ_TLS_SERVER_NAME")
    tls = zip(names, task_access.tls or (), strict=False)
    return {
        **{name: path for name, path in tls if path is not None},
        **keys,
        "DISTQ_UNSIGNED": task_access.unsigned,
        "DISTQ_ACCEPT": task_access.accept,
        "DISTQ_ADDRESS": ",".join(str(Address(*one)) for one in task_access.addresses),
        "DISTQ_FRAME_BYTES_MAX": str(task_access.frame_bytes_max),
        "DISTQ_PAYLOAD_BYTES_MAX": str(task_access.payload_bytes_max),
        "DISTQ_RECONNECT_MAX_S": str(task_access.reconnect_max_s),
    }
