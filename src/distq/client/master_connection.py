"""A client's connection to the master, which reconnects with jittered pauses until the client is closed."""

from __future__ import annotations

import logging
import os
import secrets
import socket
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Final, NamedTuple

from distq.core.errors import DistqError
from distq.net.backoff import ReconnectBackoff
from distq.net.dial import Address, CannotReach, Connection, ConnectionLost
from distq.net.direct import DIRECT_S, DirectAddress
from distq.net.several_keys import dial_with_any
from distq.net.tls_files import TlsFiles, client_files
from distq.protocol.hello import CLIENT, Greeting, read_greeting, write_hello
from distq.protocol.methods import BROKER, GOODBYE, HELLO, SUBMIT
from distq.protocol.submit import split_submit
from distq.settings import Settings
from distq.settings.current_keys import CurrentKeys, current_authkeys
from distq.wire.errors import RemoteRefusal

DIAL_S: Final = 5.0
"""Maximum seconds to connect, and again for the hello, so that a dead address does not delay the next attempt."""
CALL_S: Final = 60.0
"""Maximum seconds that the master may take to answer, beyond the time that the call asks it to wait."""
GOODBYE_S: Final = 1.0
"""Maximum seconds to send the goodbye, because the program is ending."""
SILENT_S: Final = 2.0
"""Seconds without an answer from a master after which a warning says that the program waits for one."""

log = logging.getLogger("distq")

_now = time.monotonic  # noqa: TID251 - the edge: how long a master has been away


class ConnectionConfig(NamedTuple):
    """The addresses to which a client connects, and how it identifies itself."""

    addresses: tuple[tuple[str, int], ...]
    keys: CurrentKeys
    session: str
    name: str
    frame_bytes_max: int
    reconnect_max_s: float
    role: str = CLIENT
    tls: TlsFiles | None = None


def new_session(settings: Settings) -> ConnectionConfig:
    """Return how a client with these settings connects, with a session of its own."""
    return ConnectionConfig(
        addresses=tuple((one.host, one.port) for one in settings.address),
        keys=current_authkeys(settings),
        session=secrets.token_hex(16),
        name=f"{socket.gethostname()}-{os.getpid()}",
        frame_bytes_max=settings.frame_bytes_max,
        reconnect_max_s=settings.reconnect_max_s,
        tls=client_files(settings),
    )


class NotAdmitted(DistqError):
    """The master has accepted this client's key, but refuses its hello."""

    code = "NOT_ADMITTED"
    exit_code = 3


class Outage:
    """Measures how long no master has answered, and logs one warning about it."""

    def __init__(self, addresses: Sequence[tuple[str, int]], wait_s: float) -> None:
        self._addresses_text = ", ".join(
            f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host, port in addresses
        )
        self._wait_s = wait_s
        self._since_at: float | None = None
        self._is_logged = False

    def note_failure(self, error: DistqError | None) -> None:
        """Note that no master has answered; log a warning once that has lasted for SILENT_S."""
        since = self._since_at
        if since is None:
            self._since_at = _now()
        elif not self._is_logged and _now() - since >= SILENT_S:
            self._is_logged = True
            log.warning(
                "No master has answered at %s for %.0f s%s. Trying again; a submit waits for up to %g s "
                "(DISTQ_CONNECT_WAIT_S).",
                self._addresses_text,
                _now() - since,
                "" if error is None else f": {error}".rstrip("."),
                self._wait_s,
            )

    @property
    def lasted_s(self) -> float:
        """For how long no master has answered; 0 while one answers."""
        since = self._since_at
        return 0.0 if since is None else _now() - since

    def end(self) -> None:
        """Note that a master has answered; log that if a warning was logged before."""
        self._since_at, was_logged, self._is_logged = None, self._is_logged, False
        if was_logged:
            log.warning("A master has answered at %s.", self._addresses_text)

    def error(self) -> CannotReach:
        """The error that a submit raises if no attempt to connect has failed yet."""
        return CannotReach(f"No master has answered at {self._addresses_text} within {self._wait_s:g} s.")


class ConnectAttempts:
    """What is known of the attempts to connect that one of a client's connections has made."""

    def __init__(self) -> None:
        self.failure: DistqError | None = None
        """The reason why it is not connected; None while it is connected, or before the first attempt has ended."""
        self.attempts = 0
        """The number of attempts to connect that have ended, with success or without."""
        self.is_attempting = False
        """Whether an attempt to connect is under way."""


class MasterConnection(ConnectAttempts):
    """One of a client's connections. One thread at a time uses it; others may read its state, wait or close it."""

    def __init__(
        self,
        config: ConnectionConfig,
        on_hello: Callable[[Greeting, Connection], None],
        outage: Outage | None = None,
    ) -> None:
        super().__init__()
        self._config = config
        self._on_hello = on_hello
        self._outage = outage
        self._direct = DirectAddress()
        self._accepts_goodbye = False
        self._connection: Connection | None = None
        self._keys: tuple[bytes, ...] = ()
        """The keys of which the connection has proved one."""
        self._closed = threading.Event()
        self._attempt_ended = threading.Condition()
        self.is_up = False
        """Whether the last attempt to connect succeeded, and no loss was noticed since."""

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._closed.is_set()

    def close(self, *, sends_goodbye: bool = False) -> None:
        """Close the connection for good; a pause before a reconnection ends immediately.

        With `sends_goodbye` the thread that uses the connection closes it, after it has sent its goodbye.
        """
        self._closed.set()
        connection = self._connection
        if connection is not None and not sends_goodbye:
            connection.abort()
        with self._attempt_ended:
            self._attempt_ended.notify_all()

    def release(self) -> None:
        """Close the socket: its thread has ended, or this is a fork's copy of the parent's socket, which stays open."""
        if self._connection is not None:
            self._connection.close()

    def release_after(self, loop: Callable[[], None]) -> None:
        """Run the loop of the thread that uses this connection, then close the socket."""
        try:
            loop()
        finally:
            self.release()

    def send_goodbye(self) -> None:
        """Send the master that this session wants no more results, if its version accepts that; await no answer."""
        if self._connection is not None and self._accepts_goodbye:
            with suppress(DistqError):
                self._connection.ask(BROKER, GOODBYE, timeout_s=GOODBYE_S)

    def pause(self, pause_s: float) -> None:
        """Wait for `pause_s` seconds, or until `close` is called."""
        self._closed.wait(pause_s)

    def wait_for_attempt(self, attempts_seen: int, timeout_s: float) -> None:
        """Wait until more than `attempts_seen` attempts have ended, `close` is called, or `timeout_s` is over."""
        with self._attempt_ended:
            self._attempt_ended.wait_for(lambda: self.attempts > attempts_seen or self.closed, max(timeout_s, 0.0))

    def call(self, method: str, args: tuple[object, ...], wait_s: float = 0.0) -> Any:
        """Call the broker, and repeat the call after each lost connection until the broker has answered.

        Use it only for calls that have the same effect if they are sent once or several times.

        Raises:
            RemoteRefusal: the master refused the call.
            CannotReach: the connection was closed first.
            AuthenticationFailed: the master has another key.
        """

        def ask(connection: Connection) -> object:
            sent = split_submit(args) if method == SUBMIT and connection.sends_split else args
            return connection.call(BROKER, method, sent, timeout_s=wait_s + CALL_S)

        return self.retry(ask)

    @property
    def connection(self) -> Connection | None:
        """The open connection, for a thread that sends a call and reads its answer later; None if there is none."""
        return self._connection

    def connect(self) -> None:
        """Connect, and repeat that until it succeeds; raises as `call` does."""
        self.retry(lambda _: None)

    def retry(self, ask: Callable[[Connection], Any]) -> Any:
        """Call `ask` with a connection, and repeat that after each lost connection; raises as `call` does."""
        backoff = ReconnectBackoff(self._config.reconnect_max_s)
        while not self.closed:
            try:
                return ask(self.ensure_connected())
            except DistqError as error:
                if not is_connection_error(error):
                    raise
                self.drop(error)
                if self._outage is not None:
                    self._outage.note_failure(error)
            self.pause(backoff.pause_s())
        self.drop(CannotReach("the client was closed."))
        raise CannotReach("the client was closed.")

    def ensure_connected(self) -> Connection:
        """The open connection, which is made now if there is none; raises as `dial` does, and NotAdmitted."""
        if self._connection is not None and self._config.keys.recent() is not self._keys:
            self.drop(ConnectionLost("The file of DISTQ_AUTHKEY_FILE has other keys now."))
        if self._connection is None:
            self.is_attempting = True
            try:
                self._connection = self._dial()
            except DistqError as error:
                self._note_attempt(error)
                raise
            self._note_attempt(None)
            if self._outage is not None:
                self._outage.end()
            if self.closed:
                raise CannotReach("the client was closed.")
        return self._connection

    def _dial(self) -> Connection:
        connection, greeting = self._admitted(self._config.addresses, DIAL_S)
        try:
            direct = self._direct.of(connection.address, greeting.leader)
            if direct is not None:
                connection, greeting = self._directly(direct, connection, greeting)
            self._accepts_goodbye = bool(greeting.goodbye)
            self._on_hello(greeting, connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def _directly(self, address: Address, passed: Connection, greeting: Greeting) -> tuple[Connection, Greeting]:
        """Replace a connection that a standby passes on by one to the leader itself, if that can be made."""
        try:
            connection, again = self._admitted((address,), DIRECT_S)
        except DistqError:
            self._direct.failed(address)
            return passed, greeting
        if again.instance != greeting.instance:  # another master has this address, seen from here
            self._direct.failed(address)
            connection.close()
            return passed, greeting
        passed.close()
        return connection, again

    def _admitted(self, addresses: Sequence[Address], timeout_s: float) -> tuple[Connection, Greeting]:
        config = self._config
        keys = config.keys.now()
        connection = dial_with_any(
            addresses, keys, timeout_s=timeout_s, frame_bytes_max=config.frame_bytes_max, tls=config.tls
        )
        self._keys = keys
        hello = write_hello(config.role, config.name, config.session)
        try:
            greeting = read_greeting(connection.call(BROKER, HELLO, (hello,), timeout_s=DIAL_S))
        except RemoteRefusal as error:
            connection.close()
            raise NotAdmitted(str(error)) from None
        except BaseException:
            connection.close()
            raise
        connection.sends_split = bool(greeting.split)
        return connection, greeting

    def drop(self, error: DistqError) -> None:
        """Close the connection after `error`; the next call makes a new one."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        self.failure = error
        self.is_up = False

    def _note_attempt(self, error: DistqError | None) -> None:
        with self._attempt_ended:
            self.failure = error
            self.is_up = error is None
            self.attempts += 1
            self.is_attempting = False
            self._attempt_ended.notify_all()


def is_connection_error(error: DistqError) -> bool:
    """Whether a new connection may end the error."""
    return error.code in ("CANNOT_REACH", "CONNECTION_LOST")
