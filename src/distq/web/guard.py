"""Connections to the HTTP port: each has time limits, and a host that opens too many loses its oldest idle ones.

The port needs no key, and serves probes and scrapes. So the server closes a connection whose peer sends no whole
request head, or does not read its answer. When more than CONNECTIONS_MAX are open, it closes the oldest idle connection
of the address that has the most idle ones, so that a probe from another address is still answered.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from uvicorn.protocols.http.h11_impl import H11Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

CONNECTIONS_MAX: Final = 256
"""Maximum open connections of the port; probes and scrapers need only a few."""
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
        """Connections that have sent no whole request head yet, by address, the oldest first."""

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
        self.busy(protocol)

    def idle(self, protocol: GuardedProtocol) -> None:
        """Record that a connection waits for a request."""
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

    def connection_made(self, transport: asyncio.BaseTransport) -> None:  # noqa: D102 - as asyncio.Protocol
        super().connection_made(transport)  # type: ignore[arg-type] # a stream's
        self.host = self.client[0] if self.client else ""
        self._wait_for_request()
        self._guard.opened(self)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: D102
        self._set_limit(None)
        self._guard.closed(self)
        super().connection_lost(exc)

    def handle_events(self) -> None:
        """Handle the bytes that have arrived; after a whole request head the time limit of the answer begins."""
        super().handle_events()
        answering = self.cycle is not None and not self.cycle.response_complete
        if answering and not self._answering:
            self._answering = True
            self._guard.busy(self)
            self._set_limit(ANSWER_S)

    def on_response_complete(self) -> None:
        """Wait for the next request, which may have arrived already, after the answer is written."""
        self._answering = False
        if not self.transport.is_closing():
            self._wait_for_request()
        super().on_response_complete()

    def _wait_for_request(self) -> None:
        self._guard.idle(self)
        self._set_limit(HEAD_S)

    def _set_limit(self, seconds: float | None) -> None:
        if self._limit is not None:
            self._limit.cancel()
        self._limit = None if seconds is None else self.loop.call_later(seconds, self.transport.abort)
