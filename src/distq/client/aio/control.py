"""What an asyncio client asks a master besides submits and results: on a connection of its own, one call at a time."""

from __future__ import annotations

import asyncio
from typing import Any, TypeVar

from distq.client.aio.link import admitted
from distq.client.control_connection import CONTROL_CALL_S
from distq.client.master_connection import ConnectionConfig
from distq.client.steps import MasterCall, Pause, Steps, StepsWithPauses, run_awaiting
from distq.core.errors import DistqError
from distq.net.async_dial import AsyncConnection
from distq.net.dial import CannotReach
from distq.net.direct import DirectAddress
from distq.protocol.methods import BROKER
from distq.wire.errors import RemoteRefusal

R = TypeVar("R")


class AsyncControl:
    """A connection for requests beside submits and results, for any number of coroutines."""

    def __init__(self, config: ConnectionConfig) -> None:
        self._config = config
        self._direct = DirectAddress()
        self._lock = asyncio.Lock()
        self._connection: AsyncConnection | None = None
        self._closed = False

    async def run(self, steps: Steps[R] | StepsWithPauses[R]) -> R:
        """Run steps whose calls go to the master on this connection."""
        return await run_awaiting(steps, self._ask)

    async def _ask(self, call: MasterCall | Pause) -> Any:
        """Call the broker, once more if the connection was lost since the last time.

        Raises:
            RemoteRefusal: the master refused the call.
            CannotReach, ConnectionLost: no master answers.
            AuthenticationFailed: the master has another key.
        """
        if isinstance(call, Pause):
            return await asyncio.sleep(call.pause_s)
        async with self._lock:
            is_new = self._connection is None or self._connection.lost.done()
            try:
                return await self._once(call)
            except RemoteRefusal:
                raise
            except DistqError:
                if is_new:
                    raise
                return await self._once(call)

    async def _once(self, call: MasterCall) -> Any:
        if self._closed:
            raise CannotReach("the client was closed.")
        connection = self._connection
        if connection is None or connection.lost.done():
            connection, _ = await admitted(self._config, self._direct)
            self._connection = connection
            if self._closed:
                connection.close()
        try:
            return await connection.call(BROKER, call.method, *call.args, timeout_s=call.wait_s + CONTROL_CALL_S)
        except RemoteRefusal:
            raise
        except BaseException:  # also a cancelled coroutine: the next call would read the answer to this one
            connection.close()
            raise

    def open_another(self) -> AsyncControl:
        """One with a connection of its own, for calls that wait long."""
        return AsyncControl(self._config)

    def close(self) -> None:
        """End the connection; a call that waits for an answer gets an error."""
        self._closed = True
        if self._connection is not None:
            self._connection.close()
