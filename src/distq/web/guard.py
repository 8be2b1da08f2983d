"""Connections to the HTTP port: each has time limits, and a host that opens too many loses its oldest idle ones.

The port serves probes and scrapes, which need no key. So the server closes a connection whose peer sends no whole
request head, or does not read its answer. When more than CONNECTIONS_MAX are open, it closes the oldest idle connection
of the address that has the most idle ones, so that a probe from another address is still answered. Requests with a key
that wait for the end of a task are held: they do not count, and have a limit of their own.
"""

from __future__ import annotations

import asyncio
import weakref
from typing import TYPE_CHECKING, Any, Final

from uvicorn.protocols.http.h11_impl import H11Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.requests import Request

CONNECTIONS_MAX: Final = 256
"""Maximum open connections of the port that are not held; probes and scrapers need only a few."""
HEAD_S: Final = 5.0
"""Maximum seconds from the beginning of a connection, or from the last answer, to the end of a request's head."""
ANSWER_S: Final = 30.0
"""Maximum seconds in which the server makes an answer and the peer reads it."""
HEAD_BYTES_MAX: Final = 16 << 10


class ConnectionGuard:
    """The open connections of one port."""

    def __init__(self) -> None:
        self._open: set[GuardedProtocol] = set()
        self._idle: dict[str, dict[GuardedProtocol, None]] = {}
        """Connections that may be closed, by address, the oldest first: most wait for a whole request head."""
        self.held: set[GuardedProtocol] = set()
        """Connections whose requests wait for the end of a task."""

    def protocol(self) -> Callable[..., asyncio.Protocol]:
        """Return the function by which uvicorn makes the protocol of each connection."""

        def make(*args: Any, **kwds: Any) -> GuardedProtocol:
            return GuardedProtocol(self, *args, **kwds)

        return make

    def opened(self, protocol: GuardedProtocol) -> None:
        """Add a new connection; if there are too many, close an idle one."""
        self._open.add(protocol)
        if len(self._open) > CONNECTIONS_MAX and self._idle:
            host = max(self._idle, key=lambda one: len(self._idle[one]))
            oldest = next(iter(self._idle[host]))
            self.closed(oldest)  # now: more connections may open before connection_lost is called
            oldest.transport.abort()

    def closed(self, protocol: GuardedProtocol) -> None:
        """Remove a connection that has ended."""
        self._open.discard(protocol)
        self.held.discard(protocol)
        self.busy(protocol)

    def hold(self, protocol: GuardedProtocol) -> None:
        """Do not count a connection until `release`, because its request waits for the end of a task."""
        self._open.discard(protocol)
        self.held.add(protocol)

    def release(self, protocol: GuardedProtocol) -> None:
        """Count a connection again, unless it has ended."""
        if protocol in self.held:
            self.held.discard(protocol)
            self._open.add(protocol)

    def idle(self, protocol: GuardedProtocol) -> None:
        """Record that a connection may be closed to make room: it waits for a request, or for a refusal."""
        self._idle.setdefault(protocol.host, {})[protocol] = None

    def busy(self, protocol: GuardedProtocol) -> None:
        """Record that a connection's request is being answered, or that the connection has ended."""
        waiting = self._idle.get(protocol.host)
        if waiting is not None:
            waiting.pop(protocol, None)
            if not waiting:
                del self._idle[protocol.host]


class GuardedProtocol(H11Protocol):
    """One HTTP connection, which has a time limit in each of its states."""

    def __init__(self, guard: ConnectionGuard, *args: Any, **kwds: Any) -> None:
        super().__init__(*args, **kwds)
        self.host = ""
        self._guard = guard
        self._limit: asyncio.TimerHandle | None = None
        self._answering = False
        self._end: asyncio.Future[None] = self.loop.create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:  # noqa: D102 - as asyncio.Protocol
        super().connection_made(transport)  # type: ignore[arg-type] # a stream's
        self.host = self.client[0] if self.client else ""
        self._wait_for_request()
        self._guard.opened(self)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: D102
        self._set_limit(None)
        self._guard.closed(self)
        if not self._end.done():
            self._end.set_result(None)
        super().connection_lost(exc)

    def handle_events(self) -> None:
        """Handle the bytes that have arrived; after a whole request head the time limit of the answer begins."""
        self.limit_concurrency = CONNECTIONS_MAX + 2 + len(self._guard.held)
        super().handle_events()
        answering = self.cycle is not None and not self.cycle.response_complete
        if answering and not self._answering:
            self._answering = True
            self.scope["distq.connection"] = weakref.ref(self)  # type: ignore[typeddict-unknown-key]
            self._guard.busy(self)
            self._set_limit(ANSWER_S)

    def on_response_complete(self) -> None:
        """Wait for the next request, which may have arrived already, after the answer is written."""
        self._answering = False
        if not self.transport.is_closing():
            self._wait_for_request()
        super().on_response_complete()

    # -- called by the handler of a request ----------------------------------------------------

    async def wait(self, future: asyncio.Future[Any], for_s: float = 0.0) -> bool:
        """Wait for a future that has its result after about `for_s`; False if the connection ends first."""
        if for_s:
            self._guard.hold(self)
            self._set_limit(for_s + ANSWER_S)
        await asyncio.wait((future, self._end), return_when=asyncio.FIRST_COMPLETED)
        if for_s and not self._end.done():
            self._guard.release(self)
            self._set_limit(ANSWER_S)
        return not self._end.done()

    async def pause(self, seconds: float) -> None:
        """Wait before a refusal; meanwhile the connection may be closed to make room for others."""
        over = self.loop.create_future()
        timer = self.loop.call_later(seconds, over.set_result, None)
        self._guard.idle(self)
        await asyncio.wait((over, self._end), return_when=asyncio.FIRST_COMPLETED)
        timer.cancel()
        if not self._end.done():
            self._guard.busy(self)

    def _wait_for_request(self) -> None:
        self._guard.idle(self)
        self._set_limit(HEAD_S)

    def _set_limit(self, seconds: float | None) -> None:
        if self._limit is not None:
            self._limit.cancel()
        self._limit = None if seconds is None else self.loop.call_later(seconds, self.transport.abort)


class Unguarded:
    """Stands for the connection of a request that came over none, as an application is called in tests."""

    async def wait(self, future: asyncio.Future[Any], for_s: float = 0.0) -> bool:  # noqa: ARG002 - as above
        """Wait for a future."""
        await asyncio.wait((future,))
        return True

    async def pause(self, seconds: float) -> None:
        """Wait before a refusal."""
        await asyncio.sleep(seconds)


def connection_of(request: Request) -> GuardedProtocol | Unguarded:
    """The connection of a request."""
    reference = request.scope.get("distq.connection")
    return (None if reference is None else reference()) or Unguarded()
