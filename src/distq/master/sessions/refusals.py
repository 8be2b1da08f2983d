"""The log of refused peers: one entry for the first refusal of each address, then a periodic count of the others.

Peers without authentication can thus cause only a limited number of log entries; the metrics count each refusal.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from typing import Any

    from distq.net.serve import ServerConnection

INTERVAL_S: Final = 60.0
"""Seconds of one interval, at whose end one log entry counts the refusals that had no entry of their own."""
ADDRESSES_MAX: Final = 20
"""Maximum addresses whose first refusal has a log entry of its own in one interval; the others are counted."""


class RefusalLog:
    """Writes the log entries about refused peers."""

    def __init__(self, log: Any) -> None:
        self._log = log
        self._logged: dict[str, int] = {}
        """The addresses with a log entry in this interval, each with the number of its further refusals."""
        self._others = 0
        """Number of refusals from other addresses in this interval."""
        self._reason = ""

    def note(self, connection: ServerConnection, reason: str) -> None:
        """Log or count the refusal of the peer of a connection."""
        self.note_peer(connection.peer, reason)

    def note_peer(self, peer: str, reason: str) -> None:
        """Log or count the refusal of a peer with this address, which the name of a certificate may follow."""
        host = peer.partition(" (")[0].rpartition(":")[0]
        if not self._logged:
            asyncio.get_running_loop().call_later(INTERVAL_S, self._sum_up)
        if host in self._logged:
            self._logged[host] += 1
            self._reason = reason
        elif len(self._logged) < ADDRESSES_MAX:
            self._logged[host] = 0
            self._log.warning("peer_turned_away", peer=peer, reason=reason)
        else:
            self._others += 1
            self._reason = reason

    def _sum_up(self) -> None:
        more = sum(self._logged.values()) + self._others
        if more:
            most = max(self._logged, key=lambda host: self._logged[host])
            self._log.warning(
                "peers_turned_away", count=more, most_from=most, last_reason=self._reason, seconds=INTERVAL_S
            )
        self._logged.clear()
        self._others = 0
