"""The server that accepts connections: it decodes calls for a handler and sends back the handler's replies.

The server does not know what a call means. It passes the handler one call of a connection at a time, and the next one
after the reply. This limits what the master holds for a peer, and the protocol of BaseManager needs no more.
"""

from __future__ import annotations

import asyncio
import socket
from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final, Protocol, cast

from distq.net.admission import FRAME_BYTES_MAX, Admission
from distq.net.crumbs import CRUMBS_PAUSE_S, Crumbs
from distq.net.descriptors import room_for_connections
from distq.net.direct_writer import DirectWriter
from distq.net.failed_keys import FailedKeys
from distq.net.keyring import UNKNOWN, KeyRing
from distq.net.listening import Listeners
from distq.net.partial_frames import PartialFrames
from distq.net.socket_options import acknowledge, peek, tune
from distq.net.tls_reasons import NO_HELLO, NO_TLS_AT_THIS_PORT, TLS_HELLO, TLS_HELLO_S
from distq.net.unauthenticated import Unauthenticated
from distq.net.unread import UnreadReplies
from distq.net.waiting_calls import WaitingCalls
from distq.settings.address import Address
from distq.wire.errors import TlsFailed
from distq.wire.framing import Buffer, pack, size_of
from distq.wire.handshake import TLS_ONLY
from distq.wire.inert import InertCall
from distq.wire.server_reader import Authenticated, Closed, PeerRefused, Send, ServerReader

if TYPE_CHECKING:
    from distq.net.connection_limits import ConnectionLimits
    from distq.net.tls_context import ServerTls
    from distq.net.tls_stream import TlsStream
    from distq.protocol.authority import Authority

CALLS_AHEAD_MAX: Final = 8
"""Maximum unanswered calls of one peer that the server reads ahead; with more it stops reading."""
RECEIVE_BYTES: Final = 64 * 1024
"""Maximum bytes of one read, except into the buffer of a large frame."""


class CallHandler(Protocol):
    """The object that answers calls; the master's composition root passes one to the server."""

    def called(self, connection: ServerConnection, call: InertCall) -> None:
        """Answer `call` now or later with exactly one `connection.reply`."""
        ...

    def connection_closed(self, connection: ServerConnection) -> None:
        """Clean up after a connection that has ended; its unanswered call needs no reply."""
        ...

    def called_again(self, connection: ServerConnection) -> None:
        """Note that a peer has called again before the reply to its present call."""
        ...

    def connection_refused(self, connection: ServerConnection, reason: str) -> None:
        """Note a peer that did not prove the key, or for which the server had no room."""
        ...


class Server:
    """Listens at one address, or also at one without TLS, and holds its connections."""

    def __init__(
        self,
        handler: CallHandler,
        keys: KeyRing,
        limits: ConnectionLimits,
        nonce: Callable[[], bytes],
        tls: ServerTls | None = None,
    ) -> None:
        self.handler = handler
        self.tls = tls
        self.keys = keys
        keys.on_change = self._end_removed
        self.limits = limits
        self.nonce = nonce
        self.connections: set[ServerConnection] = set()
        self.authentication_failures = 0
        self.admission = Admission(limits, room_for_connections())
        self.unauthenticated = Unauthenticated(self.admission, limits.handshake_s, FailedKeys())
        self.unread = UnreadReplies(limits.unread_s, self.admission)
        self.waiting_calls = WaitingCalls()
        self.partial_frames = PartialFrames(limits, self.admission, handler.connection_refused)
        self.receive_buffer = memoryview(bytearray(RECEIVE_BYTES))
        """Received bytes of any connection, which it reads at once; a large frame has a buffer of its own."""
        self._listeners = Listeners()

    async def start(self, address: Address, *, without_tls: bool = False) -> Address:
        """Listen, and return the address with the port that the system chose for port 0; raises CannotListen."""
        return await self._listeners.start(address, lambda: self.accept(without_tls=without_tls))

    def accept(self, *, without_tls: bool = False) -> ServerConnection:
        """Return the protocol of a new connection."""
        tls = None if self.tls is None or without_tls else self.tls.stream()
        return ServerConnection(self, asyncio.get_running_loop(), tls)

    def _end_removed(self, is_valid: Callable[[Authority], bool]) -> None:
        """End the connections whose keys are no longer valid, or allow something else now: the peers connect again."""
        for connection in list(self.connections):
            if connection.authority is not UNKNOWN and not is_valid(connection.authority):
                connection.abort()

    def stop_listening(self) -> None:
        """Accept no more connections; open connections stay open."""
        self._listeners.stop()

    def close(self) -> None:
        """Stop listening, and end each connection after its written bytes are sent."""
        self.stop_listening()
        for connection in list(self.connections):
            connection.close()

    def abort(self) -> None:
        """Stop listening, and end each connection now."""
        self.stop_listening()
        for connection in list(self.connections):
            connection.abort()


class ServerConnection(asyncio.BufferedProtocol):
    """One accepted connection."""

    def __init__(self, server: Server, loop: asyncio.AbstractEventLoop, tls: TlsStream | None) -> None:
        self.peer = "unknown"
        """Address of the peer, for logs."""
        self.state: object = None
        """The handler's own data about this peer."""
        self.reads_split = False
        """Whether the peer reads split frames; set by the handler."""
        self.open = False
        self.authority = UNKNOWN
        """What the peer's key allows, from the end of the handshake on."""
        self.frame_bytes = 0
        """Number of bytes of a large frame that is incomplete, or waits behind a call."""
        self._server = server
        self._loop = loop
        self._reader = ServerReader(server.keys.keys, server.nonce(), server.limits.frame_bytes_max)
        self._calls: deque[InertCall | bytes] = deque()
        self._is_busy = self._is_next_due = False
        self._is_reading = self._is_writable = True
        self._crumbs = Crumbs()
        self._tls = tls

    # -- asyncio's side ------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:  # noqa: D102
        server = self._server
        self._transport = cast("asyncio.Transport", transport)
        # A second socket object on the same descriptor: the one of uvloop makes a new object for each call.
        self._socket = socket.socket(fileno=transport.get_extra_info("socket").fileno())
        self._writer = DirectWriter(self._socket, self._transport)
        peer = transport.get_extra_info("peername")
        self.peer = f"{peer[0]}:{peer[1]}" if peer else "unknown"
        self._host = peer[0] if peer else "unknown"
        if reason := server.admission.refusal(self._host, len(server.connections)):
            server.handler.connection_refused(self, reason)
            self._transport.abort()
            return
        self.open = True
        server.connections.add(self)
        server.admission.opened(self._host)
        server.unauthenticated.add(self, self._host)
        tune(self._socket)
        if self._tls is None:
            self._write((self._reader.start(),))
        else:
            self._loop.call_later(min(TLS_HELLO_S, server.limits.handshake_s / 2), self._refuse_silent_peer)

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002, D102
        room = self._reader.room
        return self._server.receive_buffer if room is None or self._tls is not None else room

    def buffer_updated(self, nbytes: int) -> None:  # noqa: D102
        reader = self._reader
        if reader.room is None or self._tls is not None:
            self.take(self._server.receive_buffer[:nbytes])
        elif reader.received(nbytes):
            self._loop.call_soon(self._read_calls, b"")  # the event loop holds the buffer until this method returns
        else:
            self._incomplete(nbytes)

    def take(self, data: Buffer) -> None:
        """Take bytes of the peer, also those that it has sent before this connection was served here."""
        if self._tls is None or (data := self._unseal(self._tls, bytes(data))):
            self._read_calls(data)

    def _read_calls(self, data: Buffer) -> None:
        self._writer.has_written = False
        todo, events = self._calls, self._reader.receive(data)
        for event in events:
            if isinstance(event, InertCall):
                todo.append(event)
            else:
                self._handle(event, data)
        if todo:
            if self._is_busy:
                self._server.handler.called_again(self)
                if self.frame_bytes:
                    self._count_frame()
            elif not self._is_next_due:
                self.serve_next()
        if not events:
            self._incomplete(len(data))
            return
        self._crumbs.end()
        if todo and self._is_ahead():
            self._pause_reading()
        if not (self._writer.has_written or self._is_busy or self.reads_split or self._transport.is_closing()):
            acknowledge(self._socket)

    def _pause_reading(self) -> None:
        if self._is_reading and not self._transport.is_closing():
            self._is_reading = False
            self._transport.pause_reading()

    def _is_ahead(self) -> bool:
        """Whether enough calls have arrived, or a large one, that wait for the reply to another."""
        return self._reader.has_more or len(self._calls) > CALLS_AHEAD_MAX or bool(self._calls and self.frame_bytes)

    def _count_frame(self) -> None:
        waiting_bytes = sum(0 if isinstance(call, bytes) else size_of(call.frame) for call in self._calls)
        self._server.partial_frames.update(self, self._reader.held_bytes + waiting_bytes)

    def _incomplete(self, nbytes: int) -> None:
        """Acknowledge a part of a frame; if the frame arrives in crumbs, read it less often."""
        if self._transport.is_closing():
            return
        if not self.reads_split:  # distq's own peers of this version write without Nagle's algorithm
            acknowledge(self._socket)
        self._count_frame()
        if self._crumbs.note(nbytes) and self._reader.authenticated:
            self._pause_reading()
            self._loop.call_later(CRUMBS_PAUSE_S, self._read_on)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002, D102
        self._server.unread.end(self._transport)
        self._server.unauthenticated.remove(self)
        self._server.partial_frames.update(self, 0)
        if self.open:
            self.open = False
            self._server.handler.connection_closed(self)
            self._server.admission.closed(self._host)
        self._server.connections.discard(self)
        self._calls.clear()
        self._socket.detach()  # the transport closes the descriptor

    def pause_writing(self) -> None:  # noqa: D102
        self._is_writable = False
        self._server.unread.begin(self._transport, lambda why: self._server.handler.connection_refused(self, why))

    def resume_writing(self) -> None:  # noqa: D102
        self._is_writable = True
        self._server.unread.end(self._transport)
        self._next_later()

    # -- the handler's side --------------------------------------------------------------------

    def reply(self, body: bytes) -> None:
        """Answer the present call with `body`, a reply that `distq.wire.messages` has encoded."""
        self.reply_parts((pack(body),))

    def reply_parts(self, parts: Sequence[Buffer]) -> None:
        """Answer the present call with bytes that already include their length."""
        self._is_busy = False
        if not self.open:
            return
        self._write(parts)
        if self._calls:
            self._next_later()

    @property
    def waits(self) -> bool:
        """Whether the peer's present call has no reply yet."""
        return self._is_busy

    @property
    def has_called_again(self) -> bool:
        """Whether the peer has called again without waiting for the reply to its present call."""
        return bool(self._calls)

    def is_connected(self) -> bool:
        """Whether the peer still has its end open; the socket shows this before the event loop reports the end."""
        return self.open and not self._transport.is_closing() and peek(self._socket) != b""

    def close(self) -> None:
        """End the connection after its written bytes are sent."""
        self._transport.close()

    def abort(self) -> None:
        """End the connection now."""
        self._transport.abort()

    # -- between them --------------------------------------------------------------------------

    def _write(self, parts: Sequence[Buffer]) -> None:
        self._writer.send(parts if self._tls is None else (self._tls.seal(parts),))

    def _unseal(self, tls: TlsStream, data: bytes) -> bytes:
        """Return the plain bytes of received ones; after the handshake of TLS the session begins."""
        was_open = tls.is_open
        try:
            plain = tls.receive(data)
        except TlsFailed as error:
            self._writer.send((tls.unsent(),))
            self._refuse(str(error))
            return b""
        if unsent := tls.unsent():
            self._writer.send((unsent,))
        if tls.is_open and not was_open:
            server_tls = self._server.tls
            if server_tls is not None and (name := tls.peer_name):
                server_tls.on_verified(self.peer, name)
                self.peer = f"{self.peer} ({name})"
            self._write((self._reader.start(),))
        return plain

    def _refuse_silent_peer(self) -> None:
        """Send a peer that waits for the server's first bytes a sentence: only a peer without TLS waits for them."""
        waits = self._tls is not None and not self._tls.has_begun and not self._transport.is_closing()
        if waits and self.open and peek(self._socket) is None:  # a timer may run before the loop reads what has come
            self._writer.send((pack(TLS_ONLY),))
            self._refuse(NO_HELLO)

    def _refuse(self, reason: str) -> None:
        self._note_refusal(reason)
        self._transport.close()

    def _note_refusal(self, reason: str) -> None:
        self._server.authentication_failures += 1
        self._server.handler.connection_refused(self, reason)

    def _refuse_later(self, reason: str, refusal: bytes) -> None:
        """Refuse a wrong key after a pause; meanwhile the connection may be closed to make room for others."""
        self._note_refusal(reason)
        self._transport.pause_reading()

        def refuse() -> None:
            self._write((refusal,))
            self._transport.close()

        self._server.unauthenticated.pause(self, self.peer.partition(" (")[0].rpartition(":")[0], refuse)

    def _handle(self, event: Send | Authenticated | PeerRefused | Closed, data: Buffer) -> None:
        server = self._server
        match event:
            case Send(data):
                self._write((data,))
            case PeerRefused(reply, is_too_large):
                server.admission.met[FRAME_BYTES_MAX] += is_too_large
                self._calls.append(reply)
            case Authenticated():
                server.unauthenticated.remove(self)
                self.authority = server.keys.authority_of(self._reader.key, self.peer)
                if self.authority is UNKNOWN:  # the key was removed during the handshake
                    self.abort()
            case Closed(reason, authentication_failed, refusal):
                if refusal:
                    self._refuse_later(reason, refusal)
                elif authentication_failed:
                    self._refuse(reason)
                elif data[: len(TLS_HELLO)] == TLS_HELLO and self in server.unauthenticated:
                    self._refuse(NO_TLS_AT_THIS_PORT)
                else:
                    self._transport.close()

    def _next_later(self) -> None:
        if not self._is_next_due:
            self._is_next_due = True
            self._server.waiting_calls.add(self)

    def serve_next(self) -> None:
        """Pass the next call to the handler, if no call waits for its reply and the peer reads its replies."""
        todo, self._is_next_due = self._calls, False
        if todo and not self._is_busy and self._is_writable and self.open:
            call = todo.popleft()
            if not isinstance(call, bytes):
                self._is_busy = True
                self._server.handler.called(self, call)
            else:
                self._write((call,))
                self._next_later()
            if self.frame_bytes:
                self._count_frame()
        if not self._is_reading:
            self._read_on()

    def _read_on(self) -> None:
        """Read calls from the bytes that were received, and further bytes if there are no more calls in them."""
        if self._reader.has_more and len(self._calls) <= CALLS_AHEAD_MAX:
            self._read_calls(b"")
        if not self._is_reading and not self._is_ahead() and self.open and not self._transport.is_closing():
            self._is_reading = True
            self._transport.resume_reading()
