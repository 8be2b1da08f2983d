"""What a client asks a master besides submits and results: on a connection of its own, one call at a time."""

from __future__ import annotations

from typing import Any, Final, TypeVar

from distq.client.locks import OwnedLock
from distq.client.master_connection import ConnectionConfig, MasterConnection
from distq.client.steps import Steps, run
from distq.core.errors import DistqError
from distq.protocol.methods import BROKER
from distq.wire.errors import RemoteRefusal

R = TypeVar("R")

CONTROL_CALL_S: Final = 10.0
"""How long the master may take to answer."""


class ControlConnection:
    """A connection for requests beside submits and results; any thread may use it. It connects at the first request."""

    def __init__(self, config: ConnectionConfig) -> None:
        self._config = config
        self.master_connection = MasterConnection(config, lambda _greeting, _connection: None)
        self._lock = OwnedLock()

    def ask(self, method: str, *args: object, wait_s: float = 0.0) -> Any:
        """Call the broker, once more if the connection was lost since the last time.

        Raises:
            RemoteRefusal: the master refused the call.
            CannotReach, ConnectionLost: no master is there.
            AuthenticationFailed: the master has another key.
        """
        if self._lock.is_mine():  # a signal handler has interrupted another call in this thread
            other = self.open_another()
            try:
                return other.ask(method, *args, wait_s=wait_s)
            finally:
                other.close()
        with self._lock:
            fresh = self.master_connection.connection is None
            try:
                return self._once(method, args, wait_s)
            except RemoteRefusal:
                raise
            except DistqError as error:
                self.master_connection.drop(error)
                if fresh:
                    raise
                return self._once(method, args, wait_s)
            finally:
                if self.master_connection.closed:  # `close` leaves the socket to this thread
                    self.master_connection.release()

    def open_another(self) -> ControlConnection:
        """One with a connection of its own, for who waits long."""
        return ControlConnection(self._config)

    def close(self) -> None:
        """End the connection; who waits for an answer gets an error."""
        self.master_connection.close()
        if self._lock.acquire(0):
            try:
                self.master_connection.release()
            finally:
                self._lock.release()

    def _once(self, method: str, args: tuple[object, ...], wait_s: float) -> Any:
        connection = self.master_connection.ensure_connected()
        return connection.call(BROKER, method, args, timeout_s=wait_s + CONTROL_CALL_S)

    def run(self, steps: Steps[R]) -> R:
        """Run steps whose requests go to the master on this connection."""
        return run(steps, lambda request: self.ask(request.method, *request.args, wait_s=request.wait_s))
