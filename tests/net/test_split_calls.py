"""Large calls through a real server: they are received into buffers of their own, with and without TLS."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import closing

import pytest
from tests.net.serving import KEY, Limits, Serving, serving
from tests.waiting import SOON_S

from distq.net.dial import Connection, ConnectionLost, dial
from distq.wire.errors import RemoteRefusal
from distq.wire.framing import pack
from distq.wire.messages import bodies_beside, encode_call, pack_call

MIB = 1 << 20


@pytest.fixture(params=["asyncio", "uvloop"])
def served(request: pytest.FixtureRequest) -> Iterator[Serving]:
    """A server on each kind of event loop."""
    with serving(request.param, Limits(frame_bytes_max=130 * MIB)) as running:
        yield running


def dialled(running: Serving) -> Connection:
    """A connection of distq to the server."""
    return dial([running.address], KEY, timeout_s=SOON_S, frame_bytes_max=130 * MIB)


def body_of(size: int) -> bytes:
    """Bytes in which a shift shows."""
    return (b"0123456789abcdefghijklmnopqrstuvw" * (size // 33 + 1))[:size]


@pytest.mark.parametrize("size", [10_000, 32_768, 65_536, 100_000, 3 * MIB, 64 * MIB])
@pytest.mark.parametrize("is_split", [False, True])
def test_a_large_argument_arrives_whole(served: Serving, size: int, is_split: bool) -> None:
    """In one frame or in a split one, several times over one connection."""
    with closing(dialled(served)) as connection:
        body = body_of(size)
        for number in range(2):
            bodies = [body, b"small", body[:40_000]]
            args = (number, bodies_beside(bodies) if is_split else bodies)
            connection.call("thing", "note", args, timeout_s=SOON_S)
            method, received = served.handler.called_with.pop()
            assert (method, received) == ("note", (number, bodies))
            assert all(type(one) is bytes for one in received[1])
        assert connection.call("thing", "big", (size,), timeout_s=SOON_S) == b"x" * size


def test_calls_behind_a_large_one_are_answered_in_order(served: Serving) -> None:
    """What follows a large frame in the same read belongs to the next one."""
    with served.peer() as peer:
        calls = [
            encode_call("thing", "echo", (1,)),
            encode_call("thing", "note", (body_of(300_000),)),
            encode_call("thing", "echo", (2,)),
        ]
        stream = b"".join(map(pack, calls)) + b"".join(pack_call("thing", "note", (bodies_beside([body_of(90_000)]),)))
        peer.socket.sendall(stream + pack(encode_call("thing", "echo", (3,))))
        assert [peer.answer() for _ in range(5)] == [(1,), None, (2,), None, (3,)]


@pytest.mark.parametrize("sent", [50, 40_000, 2 * MIB])
def test_a_connection_that_ends_within_a_large_call_costs_nothing(served: Serving, sent: int) -> None:
    """The call is not made, and the server serves on."""
    stream = b"".join(pack_call("thing", "note", (bodies_beside([body_of(3 * MIB)]),)))
    with served.peer() as peer:
        peer.socket.sendall(stream[:sent])
    served.eventually(lambda: len(served.handler.ended) == 1)
    assert served.handler.called_with == []
    with served.peer() as peer:
        assert peer.ask("echo", 1) == (1,)


def test_a_call_above_the_limit_is_refused_before_its_bodies_are_read(served: Serving) -> None:
    """The refusal names the sizes, and the connection stays usable."""
    with closing(dialled(served)) as connection:
        bodies = bodies_beside([bytes(100 * MIB), bytes(50 * MIB)])
        with pytest.raises(RemoteRefusal, match=r"A frame of 157,\d{3},\d{3} bytes was announced; 136,314,880 are"):
            connection.call("thing", "note", (bodies,), timeout_s=SOON_S)
        assert connection.call("thing", "echo", (1,), timeout_s=SOON_S) == (1,)


def test_an_answer_that_ends_within_a_body_is_a_lost_connection() -> None:
    """A cut answer is never taken for a whole one, and the client waits no longer."""
    near, far = socket.socketpair()
    with closing(Connection(near, ("master", 9000))) as connection, far:
        connection._framer.limit_bytes = 130 * MIB
        far.sendall(pack(body_of(8 * MIB))[:100_000])
        far.close()
        with pytest.raises(ConnectionLost, match="the other end closed it"):
            connection.answer(timeout_s=SOON_S)
