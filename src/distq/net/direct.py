"""Whether a peer should connect to the leader itself, because a standby has passed its connection on."""

from __future__ import annotations

from typing import Final

Address = tuple[str, int]

DIRECT_S: Final = 1.0
"""Maximum seconds to connect to the leader directly, because the connection by the standby works too."""


class DirectAddress:
    """Which address of a leader to try; an address that a peer cannot reach is tried once."""

    def __init__(self) -> None:
        self._tried: set[Address] = set()

    def of(self, dialled: Address, leader: str) -> Address | None:
        """Return the address at which to reach the leader directly; None if the connection is direct, or must do.

        Args:
            dialled: the address of the present connection.
            leader: the leader's own address by its greeting, '' if no other master uses its store.
        """
        host, colon, port = leader.rpartition(":")
        if not colon or not port.isdecimal():
            return None
        address = host.removeprefix("[").removesuffix("]"), int(port)
        return None if address == tuple(dialled) or address in self._tried else address

    def failed(self, address: Address) -> None:
        """Note that this address is not the leader's, or cannot be reached from here."""
        self._tried.add(address)
