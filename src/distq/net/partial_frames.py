"""Limits the memory of large frames that the master has received in part, or that wait to be served."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING, Any, Protocol

from distq.net.admission import RECEIVING_BYTES_MAX

if TYPE_CHECKING:
    from collections.abc import Callable

    from distq.net.admission import Admission
    from distq.net.connection_limits import ConnectionLimits
    from distq.protocol.authority import Authority


class Receiver(Protocol):
    """A connection, as far as this limit needs it."""

    authority: Authority
    frame_bytes: int
    """The bytes of its large frames; only `PartialFrames` sets them."""

    def abort(self) -> None:
        """End the connection now."""
        ...


class PartialFrames:
    """Counts the bytes of such frames; beyond the limit it ends the connection of the slowest of the busiest key.

    The peer loses nothing: it connects again and sends the frame again.

    Args:
        limits: has the limit.
        admission: counts the connections that were ended.
        note: called with a connection and the reason before its end.
    """

    def __init__(self, limits: ConnectionLimits, admission: Admission, note: Callable[[Any, str], None]) -> None:
        self.bytes_max = max(limits.receiving_bytes_max, limits.frame_bytes_max)
        self.total_bytes = 0
        self._admission = admission
        self._note = note
        self._began_at: dict[Receiver, float] = {}
        """When the frame of each connection began."""

    def update(self, receiver: Receiver, frame_bytes: int) -> None:
        """Set the number of bytes of large frames that a connection has now."""
        self.total_bytes += frame_bytes - receiver.frame_bytes
        receiver.frame_bytes = frame_bytes
        if not frame_bytes:
            self._began_at.pop(receiver, None)
        elif receiver not in self._began_at:
            self._began_at[receiver] = asyncio.get_running_loop().time()
        if self.total_bytes > self.bytes_max:
            self._end_one()

    def _end_one(self) -> None:
        by_key: Counter[str] = Counter()
        for one in self._began_at:
            by_key[one.authority.name] += one.frame_bytes
        (name, held_bytes), *_ = by_key.most_common(1)
        now = asyncio.get_running_loop().time()
        slowest = min(
            (one for one in self._began_at if one.authority.name == name),
            key=lambda one: one.frame_bytes / max(now - self._began_at[one], 1e-3),
        )
        self.update(slowest, 0)  # now: further bytes may arrive before asyncio reports its end
        self._admission.met[RECEIVING_BYTES_MAX] += 1
        self._note(
            slowest,
            f"incomplete frames had more than {self.bytes_max:,} bytes (DISTQ_RECEIVING_BYTES_MAX), the most of them "
            f"({held_bytes:,} bytes) of key {name!r}, and this was its slowest; the peer may send the frame again",
        )
        slowest.abort()
