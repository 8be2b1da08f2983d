"""A client's connection to the master, made anew with jittered pauses for as long as it is needed."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Final, NamedTuple

from distq.core.errors import DistqError
from distq.net.backoff import ReconnectBackoff
from distq.net.dial import CannotReach, Connection, dial
from distq.protocol.hello import CLIENT, Greeting, read_greeting, write_hello
from distq.protocol.methods import BROKER, GOODBYE, HELLO
from distq.wire.errors import RemoteRefusal

DIAL_S: Final = 5.0
CALL_S: Final = 60.0
"""How long the master may take to answer a call that does not wait on purpose."""
GOODBYE_S: Final = 1.0
SILENT_S: Final = 2.0
"""After how many seconds without a master a warning says that the program waits for one."""

log = logging.getLogger("distq")

_now = time.monotonic  # noqa: TID251 - the edge: how long a master has been away


class ConnectionConfig(NamedTuple):
    """Where a client connects, and as whom."""

    addresses: tuple[tuple[str, int], ...]
    authkey: bytes
    session: str
    name: str
    frame_bytes_max: int
    reconnect_max_s: float
    role: str = CLIENT


class NotAdmitted(DistqError):
    """The master has let this client in and does not want to speak with it."""

    code = "NOT_ADMITTED"
    exit_code = 3


class Outage:
    """How long no master has answered, and whether the program was told."""

    def __init__(self, addresses: Sequence[tuple[str, int]], wait_s: float) -> None:
        self._text = ", ".join(f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host, port in addresses)
        self._wait_s = wait_s
        self._since_at: float | None = None
        self._is_logged = False

    def note(self, error: DistqError | None) -> None:
        """No master has answered yet; say so if that has lasted for two seconds."""
        since = self._since_at
        if since is None:
            self._since_at = _now()
        elif not self._is_logged and _now() - since >= SILENT_S:
            self._is_logged = True
            log.warning(
                "No master has answered at %s for %.0f s%s. Trying again; a submit waits for up to %g s "
                "(DISTQ_CONNECT_WAIT_S).",
                self._text,
                _now() - since,
                "" if error is None else f": {error}".rstrip("."),
                self._wait_s,
            )

    def end(self) -> None:
        """A master has answered."""
        self._since_at, said, self._is_logged = None, self._is_logged, False
        if said:
            log.warning("A master has answered at %s.", self._text)

    def error(self) -> CannotReach:
        """What a submit raises if no attempt has failed yet."""
        return CannotReach(f"No master has answered at {self._text} within {self._wait_s:g} s.")


class MasterConnection:
    """One of a client's connections. For one thread at a time; others may look at it, wait for it, and close it."""

    def __init__(
        self,
        config: ConnectionConfig,
        on_hello: Callable[[Greeting, Connection], None],
        outage: Outage | None = None,
    ) -> None:
        self._config = config
        self._on_hello = on_hello
        self._outage = outage
        self._takes_goodbye = False
        self._connection: Connection | None = None
        self._closed = threading.Event()
        self._attempted = threading.Condition()
        self.is_up = False
        """Whether it is connected, as far as is known."""
        self.failure: DistqError | None = None
        """Why it is not connected; None while it is, or nobody has tried yet."""
        self.attempts = 0
        """How many attempts to connect have ended, either way."""
        self.is_attempting = False
        """Whether one is under way."""

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._closed.is_set()

    def close(self, *, gently: bool = False) -> None:
        """End the connection; a wait for a reconnection ends at once.

        `gently` leaves it to the thread that uses it, which is about to end and may say goodbye.
        """
        self._closed.set()
        connection = self._connection
        if connection is not None and not gently:
            connection.abort()
        with self._attempted:
            self._attempted.notify_all()

    def release(self) -> None:
        """Close the connection: its thread has ended, or a fork has copied it from the parent, where it goes on."""
        if self._connection is not None:
            self._connection.close()

    def send_goodbye(self) -> None:
        """Tell the master that this session asks for no more results, if it takes that; its answer is not awaited."""
        if self._connection is not None and self._takes_goodbye:
            with suppress(DistqError):
                self._connection.ask(BROKER, GOODBYE, timeout_s=GOODBYE_S)

    def pause(self, pause_s: float) -> None:
        """Wait, unless `close` is called."""
        self._closed.wait(pause_s)

    def wait_for_attempt(self, attempts_seen: int, timeout_s: float) -> None:
        """Wait until more than `seen` attempts to connect have ended, or it was closed."""
        with self._attempted:
            self._attempted.wait_for(lambda: self.attempts > attempts_seen or self.closed, max(timeout_s, 0.0))

    def call(self, method: str, args: tuple[object, ...], wait_s: float = 0.0) -> Any:
        """Call the broker, again and again until it has answered.

        Every call that goes through here counts once however often it is sent.

        Raises:
            RemoteRefusal: the master refused the call.
            CannotReach: the link was closed first.
            AuthenticationFailed: the master has another key.
        """
        return self.retry(lambda connection: connection.call(BROKER, method, args, timeout_s=wait_s + CALL_S))

    @property
    def connection(self) -> Connection | None:
        """The connection, for a thread that asks and answers on it apart; None while there is none."""
        return self._connection

    def connect(self) -> None:
        """Connect, again and again until it is done; raises as `call` does."""
        self.retry(lambda _: None)

    def retry(self, ask: Callable[[Connection], Any]) -> Any:
        """Do it with a connection, again and again until it is done; raises as `call` does."""
        backoff = ReconnectBackoff(self._config.reconnect_max_s)
        while not self.closed:
            try:
                return ask(self.ensure_connected())
            except DistqError as error:
                if not is_passing(error):
                    raise
                self.drop(error)
                if self._outage is not None:
                    self._outage.note(error)
            self.pause(backoff.pause_s())
        self.drop(CannotReach("the client was closed."))
        raise CannotReach("the client was closed.")

    def ensure_connected(self) -> Connection:
        """The connection, made now if there is none; raises as `dial` does, and NotAdmitted."""
        if self._connection is None:
            self.is_attempting = True
            try:
                self._connection = self._dial()
            except DistqError as error:
                self._note(error)
                raise
            self._note(None)
            if self._outage is not None:
                self._outage.end()
            if self.closed:
                raise CannotReach("the client was closed.")
        return self._connection

    def _dial(self) -> Connection:
        where = self._config
        connection = dial(where.addresses, where.authkey, timeout_s=DIAL_S, frame_bytes_max=where.frame_bytes_max)
        hello = write_hello(where.role, where.name, where.session)
        try:
            greeting = read_greeting(connection.call(BROKER, HELLO, (hello,), timeout_s=DIAL_S))
            self._takes_goodbye = bool(greeting.goodbye)
            self._on_hello(greeting, connection)
        except RemoteRefusal as error:
            connection.close()
            raise NotAdmitted(str(error)) from None
        except BaseException:
            connection.close()
            raise
        return connection

    def drop(self, error: DistqError) -> None:
        """Close the connection, which is of no use any more."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        self.failure = error
        self.is_up = False

    def _note(self, error: DistqError | None) -> None:
        with self._attempted:
            self.failure = error
            self.is_up = error is None
            self.attempts += 1
            self.is_attempting = False
            self._attempted.notify_all()


def is_passing(error: DistqError) -> bool:
    """Whether an error goes away by connecting again."""
    return error.code in ("CANNOT_REACH", "CONNECTION_LOST")
