"""A real `Server` on an event loop in a thread, a fake handler, and peers with raw sockets."""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, Final, NamedTuple, Self

import uvloop
from tests.waiting import SOON_S, eventually

from distq.net.keyring import KeyRing
from distq.net.serve import Server, ServerConnection
from distq.net.tls_context import ServerTls
from distq.protocol.authority import OPERATOR
from distq.settings.address import Address
from distq.settings.role_keys import NamedKey
from distq.wire.framing import Framer, pack
from distq.wire.handshake import ClientHandshake
from distq.wire.inert import InertCall
from distq.wire.messages import decode_reply, encode_call, returned

KEY: Final = b"a key of the tests"


class Limits(NamedTuple):
    """The settings of a test's server."""

    frame_bytes_max: int = 1 << 20
    receiving_bytes_max: int = 1 << 30
    handshake_s: float = 60.0
    unauthenticated_max: int = 1000
    connections_max: int | None = None
    connections_per_address_max: int | None = None
    unread_s: float = 60.0


class FakeHandler:
    """Answers `echo` and `big` immediately, and `hold` when the test wants it."""

    def __init__(self) -> None:
        self.called_with: list[tuple[str, tuple[Any, ...]]] = []
        self.held: list[ServerConnection] = []
        self.ended: list[ServerConnection] = []
        self.reasons: list[str] = []
        self.called_again_count = 0

    def called(self, connection: ServerConnection, call: InertCall) -> None:
        """Answer a call, or hold it."""
        self.called_with.append((call.method, call.args))
        match call.method:
            case "hold":
                self.held.append(connection)
            case "big":
                connection.reply(returned(b"x" * call.args[0]))
            case "echo":
                connection.reply(returned(call.args))
            case _:
                connection.reply(returned(None))

    def connection_closed(self, connection: ServerConnection) -> None:
        """Record the end of a connection."""
        self.ended.append(connection)

    def called_again(self, connection: ServerConnection) -> None:
        """Count the calls that have come before the answer to the present one."""
        self.called_again_count += 1

    def connection_refused(self, connection: ServerConnection, reason: str) -> None:
        """Record why the server refused a peer."""
        self.reasons.append(reason)


class Serving:
    """A server that runs."""

    def __init__(self, loop: asyncio.AbstractEventLoop, server: Server, handler: FakeHandler, address: Address) -> None:
        self.loop = loop
        self.server = server
        self.handler = handler
        self.address = address

    def within(self, action: Callable[[], Any]) -> Any:
        """Call a function in the loop's thread and return its result."""

        async def act() -> Any:
            return action()

        return asyncio.run_coroutine_threadsafe(act(), self.loop).result(SOON_S)

    def connect(self, host: str = "127.0.0.1") -> Peer:
        """A peer at a loopback address that has not proved the key."""
        return Peer(socket.create_connection(self.address, SOON_S, (host, 0)))

    def peer(self, host: str = "127.0.0.1") -> Peer:
        """A peer at a loopback address that has proved the key."""
        peer = self.connect(host)
        peer.authenticate()
        return peer

    def eventually(self, fact: Callable[[], bool]) -> None:
        """Wait until a condition is true in the loop's thread."""
        eventually(lambda: self.within(fact))


class Peer:
    """The other end of one connection."""

    def __init__(self, connection: socket.socket) -> None:
        self.socket = connection
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._framer = Framer(1 << 30)
        self._frames: list[bytes] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.socket.close()

    def authenticate(self, key: bytes = KEY) -> None:
        """Prove the key; raises AuthenticationFailed, and what `frame` raises."""
        handshake = ClientHandshake(key, b"n" * 20)
        try:
            while not handshake.done:
                for body in handshake.receive(self.frame()):
                    self.socket.sendall(pack(body))
        except (EOFError, OSError):
            self.socket.close()
            raise

    def send(self, method: str, *args: object) -> None:
        """Send a call without waiting for its answer."""
        self.socket.sendall(pack(encode_call("thing", method, args)))

    def ask(self, method: str, *args: object) -> Any:
        """Send a call and return its answer."""
        self.send(method, *args)
        return self.answer()

    def answer(self) -> Any:
        """Return the next answer."""
        return decode_reply(self.frame())

    def frame(self) -> bytes:
        """The next frame; raises EOFError at the connection's end, TimeoutError after a while."""
        while not self._frames:
            data = self.socket.recv(1 << 16)
            if not data:
                raise EOFError
            self._frames = self._framer.feed(data)
        return self._frames.pop(0)

    def ends(self) -> bool:
        """Wait until the other end has closed; False if it does not."""
        try:
            while self.socket.recv(1 << 16):
                pass
        except TimeoutError:
            return False
        except ConnectionError:
            return True
        return True

    def reset(self) -> None:
        """End the connection as a killed process with unread bytes does."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()


@contextmanager
def serving(
    loop_name: str = "uvloop",
    limits: Limits | None = None,
    tls: ServerTls | None = None,
    ring: KeyRing | None = None,
    handler: FakeHandler | None = None,
) -> Iterator[Serving]:
    """Serve on a free port; without `ring` one key allows everything."""
    loop = uvloop.new_event_loop() if loop_name == "uvloop" else asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    def run(work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, loop).result(SOON_S)

    failures: list[dict[str, Any]] = []
    loop.set_exception_handler(lambda _, context: failures.append(context))
    handler = handler or FakeHandler()
    server = Server(handler, ring or KeyRing([NamedKey(KEY, OPERATOR)]), limits or Limits(), lambda: b"s" * 20, tls)
    try:
        served = Serving(loop, server, handler, run(server.start(Address("127.0.0.1", 0))))
        yield served
        assert failures == []
    finally:
        loop.call_soon_threadsafe(server.close)
        for connection in list(server.connections):
            loop.call_soon_threadsafe(connection.abort)
        eventually(lambda: not server.connections)
        run(asyncio.sleep(0))
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
