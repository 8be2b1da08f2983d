"""Tests of the server: which peers it accepts, in which order it answers calls, and how much a peer can cost."""

import asyncio
import socket
import statistics
import struct
import time
from collections import Counter
from collections.abc import Iterator
from functools import partial
from unittest import mock

import pytest
from tests.net.serving import FakeHandler, Limits, Serving, serving
from tests.waiting import eventually
from tests.wire.bombs import BOMBS

from distq.net.admission import RECEIVING_BYTES_MAX, UNREAD_S, Admission
from distq.net.crumbs import CRUMBS_MAX
from distq.net.descriptors import OWN_DESCRIPTORS
from distq.net.failed_keys import FailedKeys
from distq.net.listening import CannotListen
from distq.net.partial_frames import PartialFrames
from distq.net.serve import CALLS_AHEAD_MAX, ServerConnection
from distq.net.unauthenticated import Unauthenticated
from distq.net.unread import UnreadReplies
from distq.net.waiting_calls import WaitingCalls
from distq.protocol.authority import Authority
from distq.settings.address import Address
from distq.wire.errors import AuthenticationFailed, RemoteRefusal
from distq.wire.framing import pack
from distq.wire.inert import InertCall
from distq.wire.messages import encode_call, returned

LOOPS = ("asyncio", "uvloop")


@pytest.fixture(params=LOOPS)
def served(request: pytest.FixtureRequest) -> Iterator[Serving]:
    """A server with room for all connections."""
    with serving(request.param) as made:
        yield made


@pytest.mark.parametrize("loop", LOOPS)
def test_a_peer_that_does_not_authenticate_in_time_is_disconnected(loop: str) -> None:
    """The server closes a silent or half-authenticated connection; a peer that has proved the key may stay silent."""
    with serving(loop, Limits(handshake_s=0.3)) as served:
        inside, silent, half = served.peer(), served.connect(), served.connect()
        half.socket.sendall(b"\x00\x00")
        assert silent.ends()
        assert half.ends()
        assert inside.ask("echo", 1) == (1,)
        assert len(served.server.unauthenticated) == 0
        assert len(served.server.connections) == 1
        for peer in (inside, silent, half):
            peer.socket.close()


def test_the_oldest_unauthenticated_peers_are_disconnected_beyond_the_limit() -> None:
    """Many unauthenticated peers do not keep out or disturb a peer with the key."""
    with serving(limits=Limits(unauthenticated_max=3)) as served:
        inside = served.peer()
        unauthenticated = [served.connect() for _ in range(5)]
        assert [peer.ends() for peer in unauthenticated[:2]] == [True, True]
        for peer in unauthenticated[2:]:
            peer.authenticate()
            assert peer.ask("echo", 2) == (2,)
        assert inside.ask("echo", 1) == (1,)
        for peer in (inside, *unauthenticated):
            peer.socket.close()


def test_unauthenticated_peers_use_at_most_half_of_the_places() -> None:
    """A server with few places reserves half of them for peers that have proved the key."""
    with serving(limits=Limits(connections_max=6)) as served:
        unauthenticated = [served.connect() for _ in range(6)]
        served.eventually(lambda: len(served.server.connections) == 3)
        with served.peer() as peer:
            assert peer.ask("echo", 1) == (1,)
        for peer in unauthenticated:
            peer.socket.close()


def test_connections_beyond_the_limit_are_closed() -> None:
    """The server closes and counts such a connection immediately, and has room again after another one ends."""
    with serving(limits=Limits(connections_max=2)) as served:
        first, second = served.peer(), served.peer()
        with served.connect() as third:
            assert third.ends()
        assert served.server.admission.refused_count == 1
        first.socket.close()
        served.eventually(lambda: len(served.server.connections) == 1)
        with served.peer() as fourth:
            assert fourth.ask("echo", 4) == (4,)
        second.socket.close()


def test_a_wrong_key_is_answered_and_reported_to_the_handler(served: Serving) -> None:
    """The peer gets the failure, and the handler gets the peer's address."""
    with served.connect() as peer:
        with pytest.raises(AuthenticationFailed):
            peer.authenticate(b"another")
        assert peer.ends()
    served.eventually(lambda: len(served.handler.reasons) == 1)
    assert served.server.authentication_failures == 1


@pytest.mark.parametrize(
    "garbage",
    [b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"\x16\x03\x01" + bytes(300), struct.pack("!i", 257), b"\xff" * 40],
    ids=["http", "tls", "257 bytes", "ones"],
)
def test_a_peer_that_sends_garbage_is_disconnected_immediately(served: Serving, garbage: bytes) -> None:
    """The server closes it long before the handshake's timeout, and serves other peers meanwhile."""
    with served.peer() as inside, served.connect() as peer:
        peer.socket.sendall(garbage)
        assert peer.ends()
        assert inside.ask("echo", 1) == (1,)


@pytest.mark.parametrize(
    "length", [struct.pack("!i", -3), struct.pack("!iIQ", -2, 1 << 20, 0), struct.pack("!iQ", -1, 1 << 32)]
)
def test_a_length_beyond_all_bounds_is_refused_before_a_byte_of_it(served: Serving, length: bytes) -> None:
    """The server answers with an error and closes the connection, because it cannot skip so large a body."""
    with served.peer() as peer:
        peer.socket.sendall(length)
        with pytest.raises(RemoteRefusal, match="DISTQ_FRAME_BYTES_MAX"):
            peer.answer()
        assert peer.ends()
    served.eventually(lambda: len(served.handler.ended) == 1)


def test_a_frame_beyond_the_limit_is_refused_and_the_next_is_answered(served: Serving) -> None:
    """A sender that reads only after it has sent the whole frame gets the error, not a broken pipe."""
    with served.peer() as peer:
        for _ in range(2):
            peer.socket.sendall(pack(bytes(16 << 20)))
            with pytest.raises(RemoteRefusal, match="DISTQ_FRAME_BYTES_MAX"):
                peer.answer()
            assert peer.ask("echo", 1) == (1,)


def test_half_a_frame_makes_no_call(served: Serving) -> None:
    """A connection that breaks within a frame changes nothing."""
    frame = pack(encode_call("thing", "echo", (1,)))
    for cut in (1, 4, len(frame) - 1):
        with served.peer() as peer:
            peer.socket.sendall(frame[:cut])
    served.eventually(lambda: len(served.handler.ended) == 3)
    assert served.handler.called_with == []


def test_an_invalid_call_is_answered_with_an_error(served: Serving) -> None:
    """The server answers hostile pickles too; the connection stays usable and keeps the order."""
    with served.peer() as peer:
        for body in (b"", b"nonsense", b"\x80\x04N.", *(bomb for bomb in BOMBS.values() if len(bomb) < 1 << 20)):
            peer.socket.sendall(pack(body))
            peer.send("echo", 1)
            try:
                assert peer.answer() is None  # a call, however odd
            except RemoteRefusal:
                pass
            assert peer.answer() == (1,)


def test_pipelined_calls_are_answered_one_at_a_time_and_in_order(served: Serving) -> None:
    """The handler gets the second call only after the reply to the first."""
    with served.peer() as peer:
        peer.send("hold", 0)
        for number in range(1, 6):
            peer.send("echo", number)
        peer.socket.sendall(pack(b"nonsense"))
        served.eventually(lambda: len(served.handler.held) == 1)
        assert [method for method, _ in served.handler.called_with] == ["hold"]
        served.within(lambda: served.handler.held[0].reply(returned("held")))
        assert [peer.answer() for _ in range(6)] == ["held", (1,), (2,), (3,), (4,), (5,)]
        with pytest.raises(RemoteRefusal):
            peer.answer()


def test_the_server_pauses_reading_while_too_many_calls_wait(served: Serving) -> None:
    """The server reads few calls behind a blocked one, so a peer cannot make it hold many."""
    with served.peer() as peer:
        peer.send("hold", 0)
        served.eventually(lambda: len(served.handler.held) == 1)
        peer.socket.settimeout(0.5)
        flood = pack(encode_call("thing", "echo", (b"x" * 100_000,)))
        with pytest.raises(TimeoutError):
            peer.socket.sendall(flood * 1_000)
        connection = served.handler.held[0]
        # One read may have brought several; no more than that is kept.
        assert served.within(lambda: len(connection._calls)) <= 2 * CALLS_AHEAD_MAX + 4
        served.within(lambda: connection.reply(returned("held")))
        peer.socket.settimeout(10)
        assert peer.answer() == "held"
        assert len(peer.answer()[0]) == 100_000


def test_peers_that_send_many_calls_delay_no_other() -> None:
    """All calls that were sent ahead share one slice in each turn of the event loop; a peer's answers stay in order."""
    turn = [0]
    turns: list[tuple[int, int]] = []

    class Handler(FakeHandler):
        def called(self, connection: ServerConnection, call: InertCall) -> None:
            turns.append((turn[0], id(connection)))
            super().called(connection, call)

    with serving(handler=Handler()) as served, served.peer() as one, served.peer() as other:

        def count() -> None:
            turn[0] += 1
            served.loop.call_soon(count)

        served.server.waiting_calls = WaitingCalls(slice_s=0)
        served.within(count)
        for peer in (one, other):
            peer.socket.sendall(b"".join(pack(encode_call("thing", "echo", (n,))) for n in range(500)))
        for peer in (one, other):
            assert [peer.answer() for _ in range(500)] == [(n,) for n in range(500)]
    assert max(Counter(turns).values()) <= 2  # the first call of a read, and one that has waited
    assert max(Counter(number for number, _ in turns).values()) <= 3


def test_waiting_connections_have_one_turn_each_before_any_has_a_second() -> None:
    """A connection whose call fails unexpectedly takes no turn from the others."""
    order: list[str] = []

    class Calls:
        def __init__(self, name: str) -> None:
            self.name = name
            self.left = 3

        def serve_next(self) -> None:
            order.append(self.name)
            self.left -= 1
            if self.left:
                waiting.add(self)
            elif len(order) == 9:
                end.set()
            if self.name == "c":
                raise RuntimeError

    async def scene() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _loop, _context: None)
        for name in "abc":
            waiting.add(Calls(name))
        await end.wait()

    waiting, end = WaitingCalls(), asyncio.Event()
    asyncio.run(scene())
    assert order == ["a", "b", "c"] * 3


def test_small_calls_that_waited_are_all_answered(served: Serving) -> None:
    """The server reads again when few calls wait."""
    with served.peer() as peer:
        peer.send("hold", 0)
        served.eventually(lambda: len(served.handler.held) == 1)
        for number in range(200):
            peer.send("echo", number)
        served.within(lambda: served.handler.held[0].reply(returned("held")))
        assert peer.answer() == "held"
        assert [peer.answer()[0] for _ in range(200)] == list(range(200))


def test_a_peer_that_does_not_read_is_not_answered_ahead(served: Serving) -> None:
    """The next call waits until the peer has read: the server holds at most one reply more than the peer reads."""
    with served.peer() as slow, served.peer() as other:
        slow.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
        for _ in range(8):
            slow.send("big", 8 << 20)
        assert other.ask("echo", 1) == (1,)
        big_calls = sum(method == "big" for method, _ in served.handler.called_with)
        assert big_calls <= 2
        assert [len(slow.answer()) for _ in range(8)] == [8 << 20] * 8


@pytest.mark.parametrize("loop", LOOPS)
def test_a_peer_that_reads_nothing_is_disconnected(loop: str) -> None:
    """The server frees what it holds for the peer; a peer for which nothing waits stays."""
    with serving(loop, Limits(unread_s=0.3)) as served, served.peer() as idle, served.peer() as stuck:
        stuck.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
        stuck.send("big", 64 << 20)
        served.eventually(lambda: len(served.server.connections) == 1)
        assert served.server.admission.met[UNREAD_S] == 1
        assert served.handler.reasons[0].startswith("it has read nothing for 0.3 s of the ")
        assert idle.ask("echo", 1) == (1,)


def test_a_peer_that_reads_slowly_stays() -> None:
    """Each time that some bytes have gone the time begins again; when none have gone, the connection ends."""

    async def scene() -> str:
        transport, end = mock.Mock(), asyncio.get_running_loop().create_future()
        transport.get_write_buffer_size.side_effect = [3000, 2000, 2000, 1000, 1000, 1000]
        UnreadReplies(0.01, Admission(Limits(), 100)).begin(transport, end.set_result)
        await end
        assert transport.get_write_buffer_size.call_count == 6
        return str(end.result())

    reason = "it has read nothing for 0.01 s of the 1,000 bytes that wait for it (DISTQ_UNREAD_S)"
    assert asyncio.run(scene()) == reason


def test_one_address_leaves_room_for_the_others() -> None:
    """Connections of one address beyond its limit are refused and counted; another address still gets its own."""
    with serving(limits=Limits(connections_per_address_max=2)) as served:
        inside = [served.peer(), served.peer()]
        refused = served.connect()
        assert refused.ends()
        assert served.handler.reasons == [
            "the limit of 2 open connections of one address is reached (DISTQ_CONNECTIONS_PER_ADDRESS_MAX)"
        ]
        with served.peer(host="127.0.0.2") as elsewhere:
            assert elsewhere.ask("echo", 1) == (1,)
        inside.pop().socket.close()
        served.eventually(lambda: len(served.server.connections) == 1)
        with served.peer() as again:
            assert again.ask("echo", 1) == (1,)
        for peer in (*inside, refused):
            peer.socket.close()


def test_a_tenth_of_the_connections_is_left_to_other_addresses() -> None:
    """That is the limit of one address when none is set; a limit above that of all connections is that limit."""
    assert Admission(Limits(connections_max=100), 1000).per_address_max == 90
    assert Admission(Limits(connections_max=5), 1000).per_address_max == 5
    assert Admission(Limits(connections_max=5, connections_per_address_max=9), 1000).per_address_max == 5


def test_five_thousand_idle_workers_of_one_address_fit_the_defaults() -> None:
    """Each has two connections, and address translation gives all the same address."""
    admission = Admission(Limits(), (1 << 20) - OWN_DESCRIPTORS)
    for number in range(10_000):
        assert admission.refusal("192.0.2.1", number) == ""
        admission.opened("192.0.2.1")
    assert not any(admission.met.values())


def test_unauthenticated_peers_of_one_address_displace_those_of_no_other() -> None:
    """The busiest address loses its oldest connection: a flood from one host ends no handshake of another."""

    async def scene() -> None:
        admission = Admission(Limits(unauthenticated_max=3), 100)
        waiting = Unauthenticated(admission, 60.0, FailedKeys())
        honest, *garbage = [mock.Mock() for _ in range(6)]
        waiting.add(honest, "192.0.2.1")
        for peer in garbage:
            waiting.add(peer, "198.51.100.7")
        assert [peer.abort.called for peer in (honest, *garbage)] == [False, True, True, True, False, False]
        assert (len(waiting), admission.met["unauthenticated_max"]) == (3, 3)
        for peer in (honest, *garbage):
            waiting.remove(peer)
        assert (len(waiting), waiting._hosts, waiting._by_host) == (0, {}, {})

    asyncio.run(scene())


def test_a_reply_after_the_end_of_the_connection_is_dropped(served: Serving) -> None:
    """The handler learns once that the connection has ended; a late reply is no error."""
    peer = served.peer()
    peer.send("hold", 0)
    served.eventually(lambda: len(served.handler.held) == 1)
    connection = served.handler.held[0]
    assert served.within(connection.is_connected) is True
    peer.reset()
    served.eventually(lambda: served.handler.ended == [connection])
    assert served.within(connection.is_connected) is False
    served.within(lambda: connection.reply(returned(1)))
    assert served.server.connections == set()


def test_the_socket_knows_of_an_end_before_the_loop_does(served: Serving) -> None:
    """`is_connected` reads the socket, so that no task is leased to a peer that has just died."""
    with served.peer() as peer:
        peer.send("hold", 0)
        served.eventually(lambda: len(served.handler.held) == 1)

        def close_and_ask() -> bool:
            peer.socket.close()
            until = time.perf_counter() + 1
            while served.handler.held[0].is_connected() and time.perf_counter() < until:
                pass
            return served.handler.ended == [] and not served.handler.held[0].is_connected()

        assert served.within(close_and_ask)


def test_two_hundred_idle_unauthenticated_peers_disturb_no_other(served: Serving) -> None:
    """Each costs one socket, no thread, and no time of other peers."""
    with served.peer() as inside:
        unauthenticated = [served.connect() for _ in range(200)]
        served.eventually(lambda: len(served.server.unauthenticated) == 200)
        took_s = []
        for number in range(200):
            started_at = time.perf_counter()
            assert inside.ask("echo", number) == (number,)
            took_s.append(time.perf_counter() - started_at)
        assert statistics.median(took_s) < 0.01
        for peer in unauthenticated:
            peer.socket.close()
        served.eventually(lambda: not served.server.unauthenticated)


@pytest.mark.parametrize("size", [17_000, 32_000, 64_000])
def test_two_writes_for_one_frame_do_not_stall(served: Serving, size: int) -> None:
    """A standard-library client writes header and body apart, with Nagle: 40 ms each, unless acknowledged."""
    with served.peer() as peer:
        peer.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 0)
        frame = pack(encode_call("thing", "echo", (b"x" * size,)))
        took_s = []
        for _ in range(15):
            started_at = time.perf_counter()
            peer.socket.sendall(frame[:4])
            peer.socket.sendall(frame[4:])
            assert len(peer.answer()[0]) == size
            took_s.append(time.perf_counter() - started_at)
        assert statistics.median(took_s) < 0.01


def test_a_taken_address_is_one_sentence(served: Serving) -> None:
    """The error names the address and what to do."""
    with pytest.raises(CannotListen, match=str(served.address.port)), serving() as other:
        asyncio.run_coroutine_threadsafe(other.server.start(served.address), other.loop).result(10)


def test_an_unknown_host_is_one_sentence(served: Serving) -> None:
    """The resolver's error has a number that is no errno."""
    address = Address("no-such-host.invalid", 0)
    with pytest.raises(CannotListen, match=r"cannot listen at no-such-host\.invalid:0: [\w ]+\.$") as error:
        asyncio.run_coroutine_threadsafe(served.server.start(address), served.loop).result(10)
    assert "Unknown error" not in str(error.value)


def test_a_draining_server_keeps_its_connections(served: Serving) -> None:
    """A server in a drain accepts no more connections, and ends none."""
    with served.peer() as peer:
        served.within(served.server.stop_listening)

        def refused() -> bool:
            try:
                socket.create_connection(served.address, 1).close()
            except OSError:
                return True
            return False

        eventually(refused)
        assert peer.ask("echo", 1) == (1,)
        served.within(served.server.close)
        assert peer.ends()


def test_a_frame_that_arrives_in_crumbs_is_read_less_often(served: Serving, monkeypatch: pytest.MonkeyPatch) -> None:
    """After many small reads the server pauses before a further one; whatever came meanwhile is one read."""
    monkeypatch.setattr("distq.net.serve.CRUMBS_PAUSE_S", 3600.0)
    data = pack(encode_call("thing", "echo", (b"x" * 100_000,)))
    with served.peer() as peer:
        served.eventually(lambda: len(served.server.connections) == 1)
        [connection] = served.server.connections
        sent, reads = 0, 0

        def has_arrived(body_bytes: int) -> bool:
            return connection._reader.held_bytes == body_bytes

        while served.within(lambda: connection._is_reading):
            peer.socket.sendall(data[sent : sent + 8])
            sent, reads = sent + 8, reads + 1
            served.eventually(partial(has_arrived, sent - 4))
        assert reads == CRUMBS_MAX + 1
        peer.socket.sendall(data[sent:])
        served.within(connection._read_on)
        assert peer.answer() == (b"x" * 100_000,)
        assert peer.ask("echo", 1) == (1,)


def test_a_small_frame_that_arrives_in_crumbs_is_answered(served: Serving) -> None:
    """The pauses end by themselves."""
    data = pack(encode_call("thing", "echo", (b"x" * 300,)))
    with served.peer() as peer:
        for at in range(len(data)):
            peer.socket.sendall(data[at : at + 1])
        assert peer.answer() == (b"x" * 300,)


def test_incomplete_frames_beyond_the_limit_end_the_slowest_one() -> None:
    """The peer's other frames arrive, and the reason names the setting."""
    limits = Limits(frame_bytes_max=1 << 20, receiving_bytes_max=1 << 20)
    data = pack(encode_call("thing", "echo", (b"x" * 900_000,)))
    with serving(limits=limits) as served, served.peer() as slow, served.peer() as fast:
        frames = served.server.partial_frames
        slow.socket.sendall(data[:200_000])
        served.eventually(lambda: frames.total_bytes == 199_996)
        for connection in frames._began_at:
            frames._began_at[connection] -= 3600
        fast.socket.sendall(data[:-1])
        assert slow.ends()
        fast.socket.sendall(data[-1:])
        assert fast.answer() == (b"x" * 900_000,)
        served.eventually(lambda: len(served.server.connections) == 1)
        assert served.server.admission.met[RECEIVING_BYTES_MAX] == 1
        assert "DISTQ_RECEIVING_BYTES_MAX" in served.handler.reasons[0]
        assert served.within(lambda: frames.total_bytes) == 0
        assert not frames._began_at


def test_of_incomplete_frames_those_of_another_key_stay() -> None:
    """A key that fills the limit loses its own frames, also if another key's is slower."""

    async def scene() -> None:
        reasons: list[str] = []
        frames = PartialFrames(
            Limits(receiving_bytes_max=1 << 20), Admission(Limits(), 100), lambda _, why: reasons.append(why)
        )
        mine = [mock.Mock(authority=Authority("mine", ()), frame_bytes=0) for _ in range(3)]
        other = mock.Mock(authority=Authority("other", ()), frame_bytes=0)
        frames.update(other, 1)
        for one in mine:
            frames.update(one, 400_000)
        assert [one.abort.called for one in (*mine, other)].count(True) == 1
        assert not other.abort.called
        assert "'mine'" in reasons[0]
        assert frames.total_bytes == 800_001

    asyncio.run(scene())


def test_a_large_call_that_waits_is_counted_and_stops_reading(served: Serving) -> None:
    """Behind a call without a reply the server holds one large call, and no other ones."""
    with served.peer() as peer:
        peer.send("hold", 0)
        served.eventually(lambda: len(served.handler.held) == 1)
        connection = served.handler.held[0]
        peer.socket.settimeout(0.5)
        flood = pack(encode_call("thing", "echo", (b"x" * 500_000,))) * 100
        with pytest.raises(TimeoutError):
            peer.socket.sendall(flood)
        assert served.within(lambda: len(connection._calls)) == 1
        assert served.within(lambda: served.server.partial_frames.total_bytes) > 400_000
        served.within(lambda: connection.reply(returned("held")))
        peer.socket.settimeout(10)
        assert peer.answer() == "held"
        assert len(peer.answer()[0]) == 500_000
