"""The connections of a server whose peers have not proved a key: each has a time limit, and all have a limit.

If there are too many, the address that has the most loses its oldest one: one address ends no handshake of another.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from distq.net.admission import HANDSHAKE_S, UNAUTHENTICATED_MAX

if TYPE_CHECKING:
    from distq.net.admission import Admission
    from distq.net.failed_keys import FailedKeys


class Peer(Protocol):
    """A connection, as far as its limits need it."""

    def abort(self) -> None:
        """End the connection now."""
        ...


class Unauthenticated:
    """Ends connections that take too long, and one when there are too many.

    Args:
        admission: has the limit of their number, and counts how often a limit was met.
        handshake_s: seconds in which each must prove a key.
        failed: the pauses before refusals.
    """

    def __init__(self, admission: Admission, handshake_s: float, failed: FailedKeys) -> None:
        self._admission = admission
        self.failed = failed
        self._handshake_s = handshake_s
        self._timers: dict[Peer, asyncio.TimerHandle] = {}
        """The timer that ends each connection, the oldest connection first."""
        self._hosts: dict[Peer, str] = {}
        self._by_host: dict[str, dict[Peer, None]] = {}
        """The connections of each address, the oldest first."""
        self._pausing: dict[Peer, str] = {}
        """The connections that wait for their refusal, with their addresses."""

    def __len__(self) -> int:
        return len(self._timers)

    def __contains__(self, peer: object) -> bool:
        return peer in self._timers

    def add(self, peer: Peer, host: str) -> None:
        """Begin the time limit of a new connection; if there are too many, end the oldest of the busiest address."""
        self._timers[peer] = asyncio.get_running_loop().call_later(self._handshake_s, self._end, peer, HANDSHAKE_S)
        self._hosts[peer] = host
        self._by_host.setdefault(host, {})[peer] = None
        if len(self._timers) > self._admission.unauthenticated_max:
            busiest = max(self._by_host.values(), key=len)
            self._end(next(iter(busiest)), UNAUTHENTICATED_MAX)

    def _end(self, peer: Peer, limit: str) -> None:
        self._admission.met[limit] += 1
        self.remove(peer)  # now: more connections may arrive before asyncio reports its end
        peer.abort()

    def remove(self, peer: Peer) -> None:
        """End the time limit of a connection that has proved a key, or has ended."""
        timer = self._timers.pop(peer, None)
        if timer is None:
            return
        timer.cancel()
        host = self._hosts.pop(peer)
        del self._by_host[host][peer]
        if not self._by_host[host]:
            del self._by_host[host]
        paused = self._pausing.pop(peer, None)
        if paused is not None:
            self.failed.end_pause(paused)

    def pause(self, peer: Peer, host: str, refuse: Callable[[], None]) -> None:
        """Call `refuse` after the pause for a wrong key; meanwhile the connection may end to make room for others."""
        timer = self._timers.get(peer)
        if timer is not None:
            timer.cancel()
            self._pausing[peer] = host
            self._timers[peer] = asyncio.get_running_loop().call_later(self.failed.begin_pause(host), refuse)
