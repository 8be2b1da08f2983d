"""Writes to a socket without waiting for the event loop, as long as the socket accepts the bytes."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

    from distq.wire.framing import Buffer

CATCH_UP_S: Final = 0.01


class DirectWriter:
    """Sends what the socket accepts now: the event loop would send at the end of its turn, and in any order.

    Args:
        connection: the socket.
        transport: takes the bytes that the socket does not accept yet.
    """

    def __init__(self, connection: socket.socket, transport: asyncio.Transport) -> None:
        self._socket = connection
        self._transport = transport
        self.has_written = False
        """Whether anything was sent since the owner has set this to False."""
        self._is_behind = False
        """Whether the transport holds bytes that it must send before the next ones."""

    def send(self, parts: Sequence[Buffer]) -> None:
        """Send the parts, one after the other."""
        self.has_written = True
        if self._is_behind:
            self._transport.writelines(parts)
            return
        try:
            if len(parts) == 1:  # nearly every reply, which the socket takes as a whole
                sent = self._socket.send(parts[0], socket.MSG_DONTWAIT)
                if sent == len(parts[0]):
                    return
            else:
                sent = self._socket.sendmsg(parts, (), socket.MSG_DONTWAIT)
        except OSError:  # the socket is full or broken: the transport handles either
            sent = 0
        for part in parts:
            if sent < len(part):
                self._is_behind = True
                self._transport.write(memoryview(part)[sent:])
            sent = max(sent - len(part), 0)
        if self._is_behind:
            asyncio.get_running_loop().call_soon(self._catch_up)

    def _catch_up(self) -> None:
        """Send directly again after the transport has sent everything; it knows that only in a later turn."""
        if not self._transport.get_write_buffer_size():
            self._is_behind = False
        elif not self._transport.is_closing():
            asyncio.get_running_loop().call_later(CATCH_UP_S, self._catch_up)
