"""Connections to the HTTP port: each has time limits, and a host that opens too many loses its oldest idle ones.

The port needs no key, and serves probes and scrapes. So a connection that sends no whole
request head, or does not read its answer, is closed; and where there are too many, the address with the most idle
connections makes room, so that a probe from elsewhere is answered.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from uvicorn.protocols.http.h11_impl import H11Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

CONNECTIONS_MAX: Final = 256
"""Maximum connections; probes and scrapers are few."""
HEAD_S: Final = 5.0
"""Maximum time from the beginning of a connection, or from the last answer, to the end of a request's head."""
ANSWER_S: Final = 30.0
"""Maximum time in which an answer is made and read."""
HEAD_BYTES_MAX: Final = 16 << 10


class ConnectionGuard:
    """The connections of one port."""

    def __init__(self) -> None:
        self._open: set[GuardedProtocol] = set()
        self._idle: dict[str, dict[GuardedProtocol, None]] = {}
        """Those that have sent no whole request head yet, by address, the oldest first."""

    def protocol(self) -> Callable[..., asyncio.Protocol]:
        """What uvicorn makes of each connection."""

        def make(*args: Any, **kwds: Any) -> GuardedProtocol:
            return GuardedProtocol(self, *args, **kwds)

        return make

    def opened(self, protocol: GuardedProtocol) -> None:
        """A connection has come: one that is idle goes if there are too many."""
        self._open.add(protocol)
        if len(self._open) > CONNECTIONS_MAX and self._idle:
            host = max(self._idle, key=lambda one: len(self._idle[one]))
            oldest = next(iter(self._idle[host]))
            self.closed(oldest)  # now: more connections may open before connection_lost is called
            oldest.transport.abort()

    def closed(self, protocol: GuardedProtocol) -> None:
        """A connection has ended."""
        self._open.discard(protocol)
        self.busy(protocol)

    def idle(self, protocol: GuardedProtocol) -> None:
        """A connection waits for a request."""
        self._idle.setdefault(protocol.host, {})[protocol] = None

    def busy(self, protocol: GuardedProtocol) -> None:
        """A connection's request is being answered, or it has ended."""
        waiting = self._idle.get(protocol.host)
        if waiting is not None:
            waiting.pop(protocol, None)
            if not waiting:
                del self._idle[protocol.host]


class GuardedProtocol(H11Protocol):
    """One HTTP connection with a time limit at any time."""

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
        """Read what has come; with a whole head the time of the answer begins."""
        super().handle_events()
        answering = self.cycle is not None and not self.cycle.response_complete
        if answering and not self._answering:
            self._answering = True
            self._guard.busy(self)
            self._set_limit(ANSWER_S)

    def on_response_complete(self) -> None:
        """The answer is out: wait for the next request, which may be there already."""
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
