"""What a master uses of its process: the ports at which it serves, and what happens when it has ended."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Protocol

from distq._version import __version__
from distq.core.ports import StoreError
from distq.net.tls_server import http_tls

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from distq.core.errors import DistqError
    from distq.net.serve import CallHandler, Server
    from distq.settings import Address, Settings
    from distq.web.server import HttpServer


class MasterProcess(Protocol):
    """The process of a master."""

    stands_by: bool
    """Whether the master waits for its store as one of several masters, which is no trouble."""

    @property
    def leaderships(self) -> Mapping[str, int]:
        """Number of leaderships that the process began, by cause; empty if its store has no other master."""
        ...

    @property
    def hands_over(self) -> bool:
        """Whether another master leads as soon as this one ends, so that this one does not drain."""
        ...

    def handler(self, handler: CallHandler) -> CallHandler:
        """Return the handler that the server passes calls to."""
        ...

    def check(self) -> None:
        """Raise StoreError if this master may not answer any more; the cycle calls this before it leases tasks."""
        ...

    async def serve(self, server: Server) -> Address:
        """Let peers reach the server, and return its address."""
        ...

    async def serve_http(self, create_app: Callable[[], Any]) -> None:
        """Serve the application that `create_app` returns, if there is an HTTP address."""
        ...

    def stop_listening(self, server: Server) -> None:
        """Accept no more connections, because the master drains."""
        ...

    def store_failed(self, error: DistqError) -> int:
        """Note that the store or the leadership is lost, and return the exit code."""
        ...

    async def ended(self, tasks: int, code: int) -> None:
        """Note that the master has ended, with this number of tasks in its store."""
        ...


class OnlyMaster:
    """The process of a master that shares its store with no other: its ports are open while it leads."""

    hands_over = False
    stands_by = False

    def __init__(self, settings: Settings, log: Any) -> None:
        self._settings = settings
        self._log = log
        self._http: HttpServer | None = None
        self.leaderships: Mapping[str, int] = {}

    def handler(self, handler: CallHandler) -> CallHandler:
        """Return the handler itself."""
        return handler

    def check(self) -> None:
        """Do nothing: no other master can lead."""

    async def serve(self, server: Server) -> Address:
        """Listen at the addresses of the settings."""
        settings = self._settings
        bound = await server.start(settings.bind)
        loopback = settings.loopback_bind and await server.start(settings.loopback_bind, without_tls=True)
        log_listening(self._log, settings, bound, loopback, has_tls=server.tls is not None)
        return bound

    async def serve_http(self, create_app: Callable[[], Any]) -> None:
        """Listen at the HTTP address of the settings."""
        if self._settings.http_address is not None:
            self._http = await start_http(self._settings, self._log, create_app())

    def stop_listening(self, server: Server) -> None:
        """Close the port."""
        server.stop_listening()

    def store_failed(self, error: DistqError) -> int:
        """Log why the store cannot continue; the process ends with the code of such errors."""
        self._log.error("store_failed", reason=str(error), hint=error.hint)
        return StoreError.exit_code

    async def ended(self, tasks: int, code: int) -> None:
        """Close the HTTP port and log the end."""
        if self._http is not None:
            await self._http.stop()
        self._log.info("master_stopped", tasks_left=tasks, code=code)


def log_listening(log: Any, settings: Settings, bound: Address, loopback: Address | None, *, has_tls: bool) -> None:
    """Log that a master accepts connections."""
    log.info(
        "master_listened",
        address=str(bound),
        loopback=loopback and str(loopback),
        tls=has_tls,
        store=settings.store,
        pid=os.getpid(),
        version=__version__,
    )


async def start_http(settings: Settings, log: Any, app: Any) -> HttpServer:
    """Serve an application at the HTTP address of the settings."""
    from distq.web.server import HttpServer  # noqa: PLC0415 - the master listens before it imports its HTTP side

    assert settings.http_address is not None
    tls = http_tls(settings, log)
    http = HttpServer(app, tls)
    bound = await http.start(settings.http_address)
    log.info("http_listened", address=str(bound), tls=tls is not None)
    return http
