"""A client's connection to the master, made anew with jittered pauses for as long as it is needed."""

from __future__ import annotations

import platform
import random
import threading
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

from distq._version import __version__
from distq.core.errors import DistqError
from distq.net.dial import CannotReach, Connection, dial

PROTOCOL: Final = (1, 1)
DIAL_S: Final = 5.0
CALL_S: Final = 60.0
"""How long the master may take to answer a call that does not wait on purpose."""
PAUSE_FIRST_S: Final = 0.05


class Where(NamedTuple):
    """Where a client connects, and as whom."""

    addresses: tuple[tuple[str, int], ...]
    authkey: bytes
    session: str
    name: str
    frame_bytes_max: int
    reconnect_max_s: float


class Link:
    """One of a client's connections. For one thread; `close` may be called by another."""

    def __init__(self, where: Where, greeted: Callable[[Mapping[str, Any]], None]) -> None:
        self._where = where
        self._greeted = greeted
        self._connection: Connection | None = None
        self._closed = threading.Event()
        self.failure: DistqError | None = None
        """Why the last attempt to connect failed; None while connected."""

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._closed.is_set()

    def close(self) -> None:
        """End the connection; a wait for a reconnection ends at once."""
        self._closed.set()
        connection = self._connection
        if connection is not None:
            connection.close()

    def call(self, method: str, args: tuple[object, ...], wait_s: float = 0.0) -> Any:
        """Call the broker, again and again until it has answered.

        Every call that goes through here counts once however often it is sent.

        Raises:
            RemoteRefusal: the master refused the call.
            CannotReach: the link was closed first.
            AuthenticationFailed: the master has another key.
        """
        pause_s = PAUSE_FIRST_S
        while not self._closed.is_set():
            try:
                connection = self._connected()
                return connection.call("broker", method, args, timeout_s=wait_s + CALL_S)
            except DistqError as error:
                if not _passing(error):
                    raise
                self._drop(error)
            except (OSError, ValueError) as error:  # closed under our hands
                self._drop(CannotReach(str(error)))
            self._closed.wait(pause_s * (0.5 + random.random()))  # noqa: S311 - jitter
            pause_s = min(pause_s * 2, self._where.reconnect_max_s)
        raise CannotReach("the client was closed.")

    def connect(self) -> None:
        """Connect once, now; raises CannotReach or AuthenticationFailed."""
        self._connected()

    def _connected(self) -> Connection:
        if self._connection is None:
            where = self._where
            connection = dial(where.addresses, where.authkey, timeout_s=DIAL_S, frame_bytes_max=where.frame_bytes_max)
            info = {
                "role": "client",
                "protocol": PROTOCOL,
                "version": __version__,
                "python": platform.python_version(),
                "name": where.name,
                "session": where.session,
            }
            greeting = connection.call("broker", "hello", (info,), timeout_s=DIAL_S)
            assert isinstance(greeting, dict)
            self._greeted(greeting)
            self._connection = connection
            self.failure = None
        return self._connection

    def _drop(self, error: DistqError) -> None:
        self.failure = error
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def _passing(error: DistqError) -> bool:
    """Whether an error goes away by connecting again."""
    return error.code in ("CANNOT_REACH", "CONNECTION_LOST")
