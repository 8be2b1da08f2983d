"""The HTTP server: it serves an application in the event loop of its process, without signal handlers or access log."""

import asyncio
import contextlib
import errno
import socket
from collections.abc import Iterator

import uvicorn
from starlette.types import ASGIApp

from distq.core.errors import DistqError
from distq.net.port_holder import held_by
from distq.net.tls_context import ServerTls
from distq.settings.address import Address
from distq.web.guard import CONNECTIONS_MAX, HEAD_BYTES_MAX, HEAD_S, ConnectionGuard

BACKLOG = 128
KEEP_ALIVE_S = int(HEAD_S)
STOP_S = 2
"""Maximum seconds to finish the answers under way when the server stops."""


class CannotServe(DistqError):
    """The HTTP server cannot listen at its address."""

    code = "CANNOT_SERVE"
    hint = "Stop what listens there, or choose another with DISTQ_HTTP_ADDRESS, or set it to off."
    exit_code = 2


class AddressTaken(CannotServe):
    """Another program listens at the HTTP address already."""


TICK_S = 1.0
"""Seconds between two updates of the header with the date."""

LOOK_S = 0.005
"""Seconds between two looks whether the answers under way are sent."""


class _Uvicorn(uvicorn.Server):
    """A uvicorn server that leaves signals to its process, and stops at once instead of at its next tick."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self._stopping = asyncio.Event()

    def stop(self) -> None:
        """Let `serve` return once the answers under way are sent."""
        self.should_exit = True
        self._stopping.set()

    async def main_loop(self) -> None:
        """Serve until `stop`."""
        while not await self.on_tick(0):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(TICK_S):
                    await self._stopping.wait()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Close the port, and finish the answers under way.

        uvicorn's own method always pauses for 0.1 s, which a master that hands over would wait for.
        """
        for server in self.servers:
            server.close()
        for listener in sockets or []:
            listener.close()
        state = self.server_state
        for connection in list(state.connections):
            connection.shutdown()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(STOP_S):
                while state.connections or state.tasks:  # noqa: ASYNC110 - uvicorn announces no end of these
                    await asyncio.sleep(LOOK_S)
                for server in self.servers:
                    await server.wait_closed()
        for task in list(state.tasks):
            task.cancel()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture nothing."""
        yield


class HttpServer:
    """One HTTP port; `start` it once, `stop` it once."""

    def __init__(self, app: ASGIApp, tls: ServerTls | None = None) -> None:
        config = uvicorn.Config(
            app,
            http=ConnectionGuard().protocol(),  # type: ignore[arg-type] # a class by its type; uvicorn calls it
            ws="none",
            lifespan="off",
            interface="asgi3",
            log_config=None,
            log_level="error",  # wrong requests of unauthenticated peers are not logged
            access_log=False,
            proxy_headers=False,
            server_header=False,
            limit_concurrency=CONNECTIONS_MAX + 2,  # raised by the guard for connections that are held
            h11_max_incomplete_event_size=HEAD_BYTES_MAX,
            timeout_keep_alive=KEEP_ALIVE_S,
            timeout_graceful_shutdown=STOP_S,
        )
        if tls is not None:
            config.load()
            config.ssl = tls.reloading_context()
        self._server = _Uvicorn(config)
        self._serving: asyncio.Task[None] | None = None

    async def start(self, address: Address) -> Address:
        """Listen at an address, and return it; for port 0, with the port that the system has chosen.

        Connections that arrive before the server runs wait in the backlog.

        Raises:
            AddressTaken: another program listens there.
            CannotServe: this machine cannot listen there, for example because the address belongs to another one.
        """
        listener = await _listen(address)
        self._serving = asyncio.create_task(self._server.serve([listener]), name="distq-http")
        return Address(address.host, listener.getsockname()[1])

    async def stop(self) -> None:
        """Finish the answers under way and close the port; do nothing if the server was never started."""
        if self._serving is not None:
            self._server.stop()
            await self._serving
            self._serving = None


async def _listen(address: Address) -> socket.socket:
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, _, _, _, socket_address = found[0]
        listener = socket.socket(family, socket.SOCK_STREAM)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(socket_address)
            listener.listen(BACKLOG)
            listener.setblocking(False)
        except OSError:
            listener.close()
            raise
    except OSError as error:
        fact = f"HTTP cannot be served at {address}: {error.strerror or error}."
        if error.errno == errno.EADDRINUSE:
            raise AddressTaken(f"{fact} {held_by(address.port)}".rstrip()) from error
        raise CannotServe(fact) from error
    return listener
