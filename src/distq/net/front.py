"""The port of one of several masters: it serves connections while its master leads, and passes them on otherwise.

A standby passes bytes on and reads none of them: the peer and the leader authenticate each other, also by TLS. While no
leader is known, connections wait; a peer whose leader has died thus reaches the next one without a second attempt.
"""

from __future__ import annotations

import asyncio
import socket
from contextlib import suppress
from typing import TYPE_CHECKING, Final, cast

from distq.net.listening import Listeners
from distq.net.socket_options import tune
from distq.settings.address import Address

if TYPE_CHECKING:
    from distq.net.serve import Server

CONNECT_S: Final = 2.0
"""Maximum seconds to connect to the leader; then the standby tries again."""
RETRY_S: Final = 0.1
"""Seconds between two attempts to connect to the leader: it may have just ended, so that another one comes."""
FIRST_BYTES_MAX: Final = 64 * 1024
"""Maximum bytes of a peer before the leader has sent its first; they are kept for the next leader."""


class Front:
    """Listens for the life of the process, whether its master leads or not."""

    def __init__(self, connections_max: int, wait_s: float) -> None:
        self.connections_max = connections_max
        """Maximum connections that wait or are passed on; each one that is passed on takes two descriptors."""
        self.wait_s = wait_s
        """Maximum seconds that a connection waits for the first byte of a leader."""
        self.leader: Address | None = None
        """The address of the leader to which connections are passed on; None if none is known, or this master leads."""
        self.passed: set[PassedConnection] = set()
        """The connections that wait or are passed on."""
        self._server: Server | None = None
        self._listeners = Listeners()

    async def start(self, address: Address, *, without_tls: bool = False) -> Address:
        """Listen, and return the address with the port that the system chose for port 0; raises CannotListen.

        Connections to an address without TLS are served only while this master leads: the leader's port needs TLS.
        """
        loop = asyncio.get_running_loop()
        return await self._listeners.start(address, lambda: PassedConnection(self, loop, without_tls=without_tls))

    def lead(self, server: Server) -> None:
        """Serve all connections with `server` from now on, the waiting ones first."""
        self._server, self.leader = server, None
        self._route_all()

    def stand_by(self, leader: Address | None) -> None:
        """Pass connections on to this leader from now on; they wait while it is None."""
        if self._server is not None or leader != self.leader:
            self._server, self.leader = None, leader
            self._route_all()

    def _route_all(self) -> None:
        for connection in list(self.passed):
            connection.leave_leader()

    def route(self, connection: PassedConnection) -> None:
        """Serve the connection, pass it on, or let it wait."""
        if self._server is not None:
            connection.serve(self._server)
        elif self.leader is not None:
            connection.pass_to(self.leader)

    def stop_listening(self) -> None:
        """Accept no more connections; open connections stay open."""
        self._listeners.stop()

    def close(self) -> None:
        """Stop listening, and end all connections that wait or are passed on."""
        self.stop_listening()
        for connection in list(self.passed):
            connection.abort()


class PassedConnection(asyncio.Protocol):
    """A connection that waits for a leader, and whose bytes then go to the leader and back."""

    def __init__(self, front: Front, loop: asyncio.AbstractEventLoop, *, without_tls: bool) -> None:
        self._front = front
        self._loop = loop
        self._without_tls = without_tls
        self._leader: LeaderConnection | None = None
        self._connecting: asyncio.Task[None] | None = None
        self._retry: asyncio.TimerHandle | None = None
        self._give_up: asyncio.TimerHandle | None = None
        self._first = bytearray()
        """What the peer has sent while the leader has sent nothing; the next leader gets it again."""
        self._is_silent = True
        """Whether no leader has sent anything: then another one can take the connection over."""

    # -- asyncio's side ------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:  # noqa: D102
        front = self._front
        self._transport = cast("asyncio.Transport", transport)
        if len(front.passed) >= front.connections_max:
            self._transport.abort()
            return
        front.passed.add(self)
        tune(transport.get_extra_info("socket"))
        # Nothing is read before there is a leader: the bytes wait in the socket.
        self._transport.pause_reading()
        self._give_up = self._loop.call_later(front.wait_s, self.abort)
        front.route(self)

    def data_received(self, data: bytes) -> None:  # noqa: D102
        if self._is_silent:
            self._first += data
            if len(self._first) > FIRST_BYTES_MAX:
                self.abort()
                return
        if self._leader is not None:
            self._leader.transport.write(data)
            # As in `serve`: a standard-library program waits 40 ms for a delayed acknowledgement.
            with suppress(OSError):
                self._transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002, D102
        self._forget()
        if self._leader is not None:
            self._leader.peer = None
            self._leader.transport.close()
            self._leader = None

    def pause_writing(self) -> None:  # noqa: D102
        if self._leader is not None:
            self._leader.transport.pause_reading()

    def resume_writing(self) -> None:  # noqa: D102
        if self._leader is not None:
            self._leader.transport.resume_reading()

    # -- the front's side ----------------------------------------------------------------------

    def serve(self, server: Server) -> None:
        """Let the server of this process have the connection."""
        self._forget()
        connection = server.accept(without_tls=self._without_tls)
        self._transport.set_protocol(connection)
        connection.connection_made(self._transport)
        if self._transport.is_closing():
            return
        if self._first:
            connection.take(bytes(self._first))
        self._transport.resume_reading()

    def pass_to(self, leader: Address) -> None:
        """Connect to the leader, and pass bytes in both directions."""
        if not self._without_tls:
            self._connecting = self._loop.create_task(self._connect(leader), name="distq-pass")

    def leave_leader(self) -> None:
        """Go to another leader, if the present one has sent nothing; otherwise end: the peer connects again."""
        if not self._is_silent:
            self.abort()
            return
        self._stop_passing()
        self._front.route(self)

    def abort(self) -> None:
        """End the connection now."""
        self._transport.abort()

    # -- the leader's side ---------------------------------------------------------------------

    def received(self, data: bytes) -> None:
        """Take bytes of the leader."""
        if self._is_silent:
            self._is_silent = False
            self._first.clear()
            if self._give_up is not None:
                self._give_up.cancel()
        self._transport.write(data)

    def pause_reading(self) -> None:
        """Read no more from the peer until the leader has taken what was sent."""
        self._transport.pause_reading()

    def resume_reading(self) -> None:
        """Read from the peer again."""
        if not self._transport.is_closing():
            self._transport.resume_reading()

    def leader_closed(self) -> None:
        """End with the leader's connection, or try again if the leader has sent nothing."""
        self._leader = None
        if not self._is_silent:
            self._transport.close()
            return
        self._stop_passing()
        self._retry_later()

    async def _connect(self, leader: Address) -> None:
        made = LeaderConnection(self)
        try:
            async with asyncio.timeout(CONNECT_S):
                await self._loop.create_connection(lambda: made, leader.host, leader.port)
        except OSError:  # TimeoutError too
            self._connecting = None
            if self in self._front.passed:
                self._retry_later()
            return
        self._connecting = None
        if made.peer is None or made.transport.is_closing():
            made.transport.abort()
            return
        self._leader = made
        if self._first:
            made.transport.write(bytes(self._first))
        self._transport.resume_reading()

    def _retry_later(self) -> None:
        self._retry = self._loop.call_later(RETRY_S, self._front.route, self)

    def _stop_passing(self) -> None:
        if self._connecting is not None:
            self._connecting.cancel()
            self._connecting = None
        if self._retry is not None:
            self._retry.cancel()
        leader, self._leader = self._leader, None
        if leader is not None:
            leader.peer = None
            leader.transport.abort()
        if not self._transport.is_closing():
            self._transport.pause_reading()

    def _forget(self) -> None:
        self._front.passed.discard(self)
        if self._give_up is not None:
            self._give_up.cancel()
        if self._retry is not None:
            self._retry.cancel()
        if self._connecting is not None:
            self._connecting.cancel()
            self._connecting = None


class LeaderConnection(asyncio.Protocol):
    """The connection to the leader on which the bytes of one peer travel."""

    transport: asyncio.Transport

    def __init__(self, peer: PassedConnection) -> None:
        self.peer: PassedConnection | None = peer

    def connection_made(self, transport: asyncio.BaseTransport) -> None:  # noqa: D102
        self.transport = cast("asyncio.Transport", transport)
        tune(transport.get_extra_info("socket"))

    def data_received(self, data: bytes) -> None:  # noqa: D102
        if self.peer is not None:
            self.peer.received(data)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002, D102
        peer, self.peer = self.peer, None
        if peer is not None:
            peer.leader_closed()

    def pause_writing(self) -> None:  # noqa: D102
        if self.peer is not None:
            self.peer.pause_reading()

    def resume_writing(self) -> None:  # noqa: D102
        if self.peer is not None:
            self.peer.resume_reading()
