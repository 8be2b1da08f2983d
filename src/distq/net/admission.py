"""Which new connections a server accepts: limits on all, on those of one address, and on unauthenticated ones."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final

from distq.core.plurals import counted

if TYPE_CHECKING:
    from distq.net.connection_limits import ConnectionLimits

CONNECTIONS_MAX: Final = "connections_max"
PER_ADDRESS_MAX: Final = "connections_per_address_max"
UNAUTHENTICATED_MAX: Final = "unauthenticated_max"
HANDSHAKE_S: Final = "handshake_s"
UNREAD_S: Final = "unread_s"
FRAME_BYTES_MAX: Final = "frame_bytes_max"
RECEIVING_BYTES_MAX: Final = "receiving_bytes_max"
LIMITS: Final = (
    CONNECTIONS_MAX,
    PER_ADDRESS_MAX,
    UNAUTHENTICATED_MAX,
    HANDSHAKE_S,
    UNREAD_S,
    FRAME_BYTES_MAX,
    RECEIVING_BYTES_MAX,
)
"""The settings that limit what a server holds for its peers, in lower case, without their prefix."""


class Admission:
    """The numbers of open connections by the address of their peers, and how often each limit was met."""

    def __init__(self, limits: ConnectionLimits, room: int) -> None:
        self.connections_max = min(room, limits.connections_max or 1 << 30)
        self.unauthenticated_max = min(limits.unauthenticated_max, max(self.connections_max // 2, 1))
        """Maximum connections without a proved key: at most half of all, so that peers with the key find room."""
        leaves_room = max(self.connections_max - self.connections_max // 10, 1)
        self.per_address_max = min(limits.connections_per_address_max or leaves_room, self.connections_max)
        """Maximum connections of one address; unless set, a tenth of all connections is left to other addresses."""
        self.met: Counter[str] = Counter(dict.fromkeys(LIMITS, 0))
        """Number of times that each of `LIMITS` has closed or refused something."""
        self._open: dict[str, int] = {}
        """Number of open connections by address; no `Counter`, whose missing and removed keys are handled in Python."""

    @property
    def refused_count(self) -> int:
        """Number of connections that were closed immediately because there were too many."""
        return self.met[CONNECTIONS_MAX] + self.met[PER_ADDRESS_MAX]

    def refusal(self, host: str, count: int) -> str:
        """Return why a connection from this address, beside `count` open ones, is refused; '' if it is accepted."""
        if count >= self.connections_max:
            self.met[CONNECTIONS_MAX] += 1
            return f"the limit of {counted(self.connections_max, 'open connection')} is reached (DISTQ_CONNECTIONS_MAX)"
        if self._open.get(host, 0) >= self.per_address_max:
            self.met[PER_ADDRESS_MAX] += 1
            return (
                f"the limit of {counted(self.per_address_max, 'open connection')} of one address is reached "
                "(DISTQ_CONNECTIONS_PER_ADDRESS_MAX)"
            )
        return ""

    def opened(self, host: str) -> None:
        """Count an accepted connection."""
        self._open[host] = self._open.get(host, 0) + 1

    def closed(self, host: str) -> None:
        """Count the end of an accepted connection."""
        left = self._open[host] - 1
        if left > 0:
            self._open[host] = left
        else:
            del self._open[host]
