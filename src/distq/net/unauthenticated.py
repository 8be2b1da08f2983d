"""The connections of a server whose peers have not proved a key: each has a time limit, and all have a limit."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from distq.net.failed_keys import FailedKeys


class Peer(Protocol):
    """A connection, as far as its limits need it."""

    def abort(self) -> None:
        """End the connection now."""
        ...


class Unauthenticated:
    """Ends connections that take too long, and the oldest one when there are too many.

    Args:
        count_max: maximum connections.
        handshake_s: seconds in which each must prove a key.
        failed: the pauses before refusals.
    """

    def __init__(self, count_max: int, handshake_s: float, failed: FailedKeys) -> None:
        self.count_max = count_max
        self.failed = failed
        self._handshake_s = handshake_s
        self._timers: dict[Peer, asyncio.TimerHandle] = {}
        """The timer that ends each connection, the oldest connection first."""
        self._pausing: dict[Peer, str] = {}
        """The connections that wait for their refusal, with their addresses."""

    def __len__(self) -> int:
        return len(self._timers)

    def __contains__(self, peer: object) -> bool:
        return peer in self._timers

    def add(self, peer: Peer) -> None:
        """Begin the time limit of a new connection; if there are too many, end the oldest."""
        self._timers[peer] = asyncio.get_running_loop().call_later(self._handshake_s, peer.abort)
        if len(self._timers) > self.count_max:
            oldest = next(iter(self._timers))
            self.remove(oldest)  # now: more connections may arrive before asyncio reports its end
            oldest.abort()

    def remove(self, peer: Peer) -> None:
        """End the time limit of a connection that has proved a key, or has ended."""
        timer = self._timers.pop(peer, None)
        if timer is not None:
            timer.cancel()
        host = self._pausing.pop(peer, None)
        if host is not None:
            self.failed.end_pause(host)

    def pause(self, peer: Peer, host: str, refuse: Callable[[], None]) -> None:
        """Call `refuse` after the pause for a wrong key; meanwhile the connection may end to make room for others."""
        timer = self._timers.get(peer)
        if timer is not None:
            timer.cancel()
            self._pausing[peer] = host
            self._timers[peer] = asyncio.get_running_loop().call_later(self.failed.begin_pause(host), refuse)
