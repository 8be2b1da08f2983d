"""Ends connections whose peers do not read what the server has written to them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol

from distq.net.admission import UNREAD_S

if TYPE_CHECKING:
    from collections.abc import Callable

    from distq.net.admission import Admission


class Writer(Protocol):
    """A connection's transport."""

    def get_write_buffer_size(self) -> int:
        """Return the number of bytes that the socket has not taken yet."""
        ...

    def abort(self) -> None:
        """End the connection now."""
        ...


class UnreadReplies:
    """Watches the connections whose transports hold more than they should, until their peers have read enough.

    Args:
        seconds: how long a peer may read nothing.
        admission: counts the connections that were ended.
    """

    def __init__(self, seconds: float, admission: Admission) -> None:
        self._seconds = seconds
        self._admission = admission
        self._timers: dict[Writer, asyncio.TimerHandle] = {}

    def begin(self, transport: Writer, note: Callable[[str], None]) -> None:
        """Watch a connection; call `note` with the reason before its end."""
        self.end(transport)
        timer = asyncio.get_running_loop().call_later(
            self._seconds, self._check, transport, note, transport.get_write_buffer_size()
        )
        self._timers[transport] = timer

    def end(self, transport: Writer) -> None:
        """Watch a connection no more: its peer has read enough, or it has ended."""
        timer = self._timers.pop(transport, None)
        if timer is not None:
            timer.cancel()

    def _check(self, transport: Writer, note: Callable[[str], None], held_bytes: int) -> None:
        if transport.get_write_buffer_size() < held_bytes:
            self.begin(transport, note)
            return
        del self._timers[transport]
        self._admission.met[UNREAD_S] += 1
        note(
            f"it has read nothing for {self._seconds:g} s of the {held_bytes:,} bytes that wait for it (DISTQ_UNREAD_S)"
        )
        transport.abort()
