"""Options of the server's sockets, and a look at what waits in one."""

import socket
from typing import Final

KEEPALIVE_S: Final = 15
SILENT_PEER_MS: Final = 60_000
"""Milliseconds without an acknowledgement after which the kernel ends the connection (`TCP_USER_TIMEOUT`)."""


def tune(connection: socket.socket) -> None:
    """Switch off Nagle's algorithm, and let the kernel detect a peer whose host has gone."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, KEEPALIVE_S)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, KEEPALIVE_S)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, SILENT_PEER_MS)


def peek(connection: socket.socket) -> bytes | None:
    """Return the next byte that waits in the socket, None if there is none yet, b"" once the connection has ended."""
    try:
        return connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
    except BlockingIOError:
        return None
    except OSError:
        return b""
