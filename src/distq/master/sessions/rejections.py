"""What the log says of peers that were turned away: the first of each address at once, and then how many there were.

Who has proved nothing writes only so much into the log; the metrics count each.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from typing import Any

    from distq.net.serve import ServerConnection

INTERVAL_S: Final = 60.0
"""After the first, one line says how many more there were in this time."""
ADDRESSES_MAX: Final = 20
"""Maximum addresses whose first is told at once within the interval."""


class RejectionLog:
    """The log's lines of peers that were turned away."""

    def __init__(self, log: Any) -> None:
        self._log = log
        self._told: dict[str, int] = {}
        """Addresses that were told in the present interval, and how many more of each came."""
        self._others = 0
        """How many came from further addresses."""
        self._reason = ""

    def note(self, connection: ServerConnection, reason: str) -> None:
        """A peer was turned away."""
        host = connection.peer.rpartition(":")[0]
        if not self._told:
            asyncio.get_running_loop().call_later(INTERVAL_S, self._sum_up)
        if host in self._told:
            self._told[host] += 1
            self._reason = reason
        elif len(self._told) < ADDRESSES_MAX:
            self._told[host] = 0
            self._log.warning("peer_turned_away", peer=connection.peer, reason=reason)
        else:
            self._others += 1
            self._reason = reason

    def _sum_up(self) -> None:
        more = sum(self._told.values()) + self._others
        if more:
            most = max(self._told, key=lambda host: self._told[host])
            self._log.warning(
                "peers_turned_away", count=more, most_from=most, last_reason=self._reason, seconds=INTERVAL_S
            )
        self._told.clear()
        self._others = 0
