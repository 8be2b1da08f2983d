"""Options of the sockets of both ends, and a look at what waits in one."""

import socket
from typing import Final

KEEPALIVE_S: Final = 15
SILENT_PEER_MS: Final = 60_000
"""Milliseconds without an acknowledgement after which the kernel ends the connection (`TCP_USER_TIMEOUT`)."""
KEEPALIVE_IDLE_S: Final = 15
KEEPALIVE_INTERVAL_S: Final = 5
KEEPALIVE_PROBES: Final = 3
SILENT_PEER_MS_MAX: Final = 30_000
"""Maximum milliseconds that sent bytes stay unacknowledged before the kernel ends the connection: one lease."""


def tune(connection: socket.socket) -> None:
    """Switch off Nagle's algorithm for an accepted socket, and let the kernel detect a peer whose host has gone."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, KEEPALIVE_S)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, KEEPALIVE_S)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, SILENT_PEER_MS)


def acknowledge(connection: socket.socket) -> None:
    """Send the acknowledgement of the received bytes now.

    A standard-library client writes a header and its body separately, and Nagle's algorithm waits 40 ms for the
    server's delayed ACK in between. An immediate ACK, if there is no reply to send, makes it 1 ms.
    """
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)


def peek(connection: socket.socket) -> bytes | None:
    """Return the next byte that waits in the socket, None if there is none yet, b"" once the connection has ended."""
    try:
        return connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
    except BlockingIOError:
        return None
    except OSError:
        return b""


def set_options(connected: socket.socket) -> None:
    """Switch off Nagle's algorithm for a TCP socket, and let the kernel detect a peer whose host has gone."""
    tcp = socket.IPPROTO_TCP
    connected.setsockopt(tcp, socket.TCP_NODELAY, 1)
    connected.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    connected.setsockopt(tcp, socket.TCP_KEEPIDLE, KEEPALIVE_IDLE_S)
    connected.setsockopt(tcp, socket.TCP_KEEPINTVL, KEEPALIVE_INTERVAL_S)
    connected.setsockopt(tcp, socket.TCP_KEEPCNT, KEEPALIVE_PROBES)
    connected.setsockopt(tcp, socket.TCP_USER_TIMEOUT, SILENT_PEER_MS_MAX)
