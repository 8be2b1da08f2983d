"""Tests the wire against the real standard library of every installed Python, on either end."""

import queue
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from tests.wire import kinds, programs
from tests.wire.served import serving

from distq.wire.errors import AuthenticationFailed, RemoteRefusal
from distq.wire.framing import Framer, pack
from distq.wire.handshake import ClientHandshake
from distq.wire.messages import decode_reply, encode_call

KEY = b"the key"
NONCE = bytes(range(40))


class Dialled:
    """One connection to a standard-library server, made with the classes of `wire` only."""

    def __init__(self, connection: socket.socket, key: bytes) -> None:
        self._connection = connection
        self._framer = Framer(256)
        self._frames: list[bytes] = []
        handshake = ClientHandshake(key, NONCE)
        while not handshake.done:
            try:
                bodies = handshake.receive(self._read())
            except AuthenticationFailed as exc:
                if exc.reply:
                    connection.sendall(pack(exc.reply))
                raise
            connection.sendall(b"".join(map(pack, bodies)))
        self._framer.limit_bytes = 2**26

    def _read(self) -> bytes:
        while not self._frames:
            data = self._connection.recv(65536)
            assert data, "the other end closed"
            self._frames += self._framer.feed(data)
        return self._frames.pop(0)

    def call(self, ident: str | None, method: str, *args: object, **kwds: object) -> object:
        """Call, and return or raise what the other end returned or raised."""
        self._connection.sendall(pack(encode_call(ident, method, args, kwds)))
        return decode_reply(self._read())


@contextmanager
def stdlib_server(interpreter: str, key: bytes) -> Iterator[int]:
    """Run the recipe's server; yield its port."""
    with programs.start(interpreter, programs.SERVER, key.decode()) as process:
        try:
            assert process.stdout
            yield int(process.stdout.readline())
        finally:
            process.kill()


@contextmanager
def dialled(port: int, key: bytes = KEY) -> Iterator[Dialled]:
    """Connect to a standard-library server."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        yield Dialled(connection, key)


@pytest.mark.parametrize("keys", [[KEY], [b"old", KEY]], ids=["one key", "two keys"])
def test_a_stdlib_client_is_served(interpreter: str, keys: list[bytes]) -> None:
    """The client connects, gets its queues, and puts and gets any object, none of which is built here."""
    with serving(keys) as (port, served):
        assert programs.run(interpreter, programs.CLIENT, str(port), KEY.decode()) == "done"
    assert served.closed == []
    assert served.authenticated >= 4


def test_a_standard_library_client_with_a_wrong_key_raises_an_authentication_error(interpreter: str) -> None:
    """The client raises AuthenticationError; the server records a wrong key, not a broken connection."""
    with serving([KEY]) as (port, served):
        assert programs.run(interpreter, programs.KNOCK, str(port), "wrong") == "AuthenticationError"
        assert programs.run(interpreter, programs.KNOCK, str(port), KEY.decode()) == "connected"
    assert [closed.authentication_failed for closed in served.closed] == [True]


def test_a_stdlib_server_is_dialled(interpreter: str) -> None:
    """Queues are created, filled, emptied and found empty, as by a standard-library client."""
    with stdlib_server(interpreter, KEY) as port:
        with dialled(port) as manager:
            created = manager.call(None, "create", "get_work_queue")
        assert isinstance(created, tuple)
        ident, methods = created
        assert {"put", "get", "qsize"} <= set(methods)
        with dialled(port) as connection:
            assert connection.call(None, "accept_connection", "distq") is None
            for value in (1, "é", [1, (2,)], {"a": None}, b"x" * 1_000_000, kinds.KINDS["decimal"]):
                assert connection.call(ident, "put", value) is None
                assert connection.call(ident, "qsize") == 1
                assert connection.call(ident, "get", timeout=5) == value
                assert connection.call(ident, "task_done") is None
            with pytest.raises(queue.Empty):
                connection.call(ident, "get", timeout=0.01)
            with pytest.raises(ValueError, match="task_done"):
                connection.call(ident, "task_done")
            with pytest.raises(RemoteRefusal, match="nonsense"):
                connection.call(ident, "nonsense")


def test_a_full_queue_of_a_stdlib_server_raises_full(interpreter: str) -> None:
    """The exceptions of `queue` arrive with their own types."""
    with stdlib_server(interpreter, KEY) as port:
        with dialled(port) as manager:
            created = manager.call(None, "create", "get_result_queue")
        assert isinstance(created, tuple)
        with dialled(port) as connection:
            connection.call(None, "accept_connection", "distq")
            connection.call(created[0], "put", 1)
            with pytest.raises(queue.Full):
                connection.call(created[0], "put", 2, False)


def test_a_standard_library_server_with_another_key_refuses_the_client(interpreter: str) -> None:
    """Both ends report the wrong key, and the server continues."""
    with stdlib_server(interpreter, KEY) as port:
        with pytest.raises(AuthenticationFailed, match="did not accept"), dialled(port, b"wrong"):
            pass
        with dialled(port) as manager:
            assert manager.call(None, "dummy") is None
