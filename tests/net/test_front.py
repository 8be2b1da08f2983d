"""Tests of the front: which leader gets a peer's bytes, and what becomes of a peer while masters change."""

import asyncio
import socket
from collections.abc import Iterator
from contextlib import closing, contextmanager

import pytest
from tests.net.serving import Peer, Serving, serving
from tests.waiting import SOON_S

from distq.net import front as front_module
from distq.net.front import Front
from distq.net.keyring import KeyRing
from distq.net.listening import CannotListen
from distq.protocol.authority import Authority
from distq.settings.address import Address
from distq.settings.role_keys import NamedKey
from distq.wire.errors import AuthenticationFailed

GREETING = b"greeting of the leader"
HANDSHAKE_S = 60.0


class Fronted:
    """A front on the event loop of a server."""

    def __init__(self, served: Serving, front: Front, address: Address) -> None:
        self.served = served
        self.front = front
        self.address = address

    def stand_by(self, leader: socket.socket | None) -> None:
        """Let the front pass connections on to what listens at this socket."""
        address = None if leader is None else Address(*leader.getsockname()[:2])
        self.served.within(lambda: self.front.stand_by(address))

    def lead(self) -> None:
        """Let the server of this process have all connections."""
        self.served.within(lambda: self.front.lead(self.served.server))

    def connect(self) -> Peer:
        """A peer of the front."""
        return Peer(socket.create_connection(self.address, SOON_S))

    def passes(self, count: int) -> None:
        """Wait until this number of connections wait or are passed on."""
        self.served.eventually(lambda: len(self.front.passed) == count)


@contextmanager
def fronted(connections_max: int = 100, wait_s: float = HANDSHAKE_S) -> Iterator[Fronted]:
    """Yield a front that knows no leader yet."""
    with serving() as served:
        front = Front(connections_max, wait_s)
        starting = front.start(Address("127.0.0.1", 0))
        address = asyncio.run_coroutine_threadsafe(starting, served.loop).result(SOON_S)
        try:
            yield Fronted(served, front, address)
        finally:
            served.within(front.close)
            served.eventually(lambda: not front.passed)


@pytest.fixture
def standby() -> Iterator[Fronted]:
    """Yield a front that knows no leader yet."""
    with fronted() as made:
        yield made


@contextmanager
def fake_leader() -> Iterator[socket.socket]:
    """Yield the listening socket of a leader."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(SOON_S)
        yield listener


def accepted(leader: socket.socket) -> socket.socket:
    """Return the next connection that the front has made to the leader."""
    connection, _ = leader.accept()
    connection.settimeout(SOON_S)
    return connection


def exactly(connection: socket.socket, count: int) -> bytes:
    """Receive this number of bytes."""
    received = b""
    while len(received) < count and (data := connection.recv(count - len(received))):
        received += data
    return received


def test_bytes_go_to_the_leader_and_back_unchanged(standby: Fronted) -> None:
    """Also megabytes whose reader is slow, in both directions."""
    large = bytes(range(256)) * 20_000
    with fake_leader() as leader, standby.connect() as peer:
        standby.stand_by(leader)
        with accepted(leader) as far:
            far.sendall(GREETING)
            assert exactly(peer.socket, len(GREETING)) == GREETING
            for sender, receiver in ((peer.socket, far), (far, peer.socket)):
                sending = asyncio.run_coroutine_threadsafe(
                    asyncio.to_thread(sender.sendall, large), standby.served.loop
                )
                assert exactly(receiver, len(large)) == large
                sending.result(SOON_S)


def test_a_connection_that_waits_is_served_when_this_master_leads(standby: Fronted) -> None:
    """The peer has connected once, and the server answers its calls."""
    with standby.connect() as peer:
        standby.passes(1)
        standby.lead()
        peer.authenticate()
        assert peer.ask("echo", 1) == (1,)
        standby.passes(0)


def test_first_bytes_that_a_silent_leader_has_received_go_to_the_next_one(standby: Fronted) -> None:
    """Peers with TLS send first: a leader that dies before its first byte loses nothing of theirs."""
    hello = b"first bytes of TLS"
    with fake_leader() as dead, fake_leader() as alive, standby.connect() as peer:
        standby.stand_by(dead)
        peer.socket.sendall(hello)
        with accepted(dead) as far:
            assert exactly(far, len(hello)) == hello
            standby.stand_by(alive)
            assert far.recv(1) == b""
        with accepted(alive) as far:
            assert exactly(far, len(hello)) == hello


def test_a_peer_that_a_leader_has_greeted_ends_with_it(standby: Fronted) -> None:
    """Its session was with that leader; it connects again."""
    with fake_leader() as leader, standby.connect() as ends, standby.connect() as changes:
        standby.stand_by(leader)
        with accepted(leader) as one, accepted(leader) as two:
            one.sendall(GREETING)
            two.sendall(GREETING)
            for peer in (ends, changes):
                assert exactly(peer.socket, len(GREETING)) == GREETING
            one.close()
            standby.passes(1)
            standby.stand_by(None)
            assert ends.ends()
            assert changes.ends()


def test_a_leader_that_closes_without_a_word_is_tried_again(standby: Fronted) -> None:
    """It is just ending, or just beginning; the peer does not notice."""
    with fake_leader() as leader, standby.connect() as peer:
        standby.stand_by(leader)
        accepted(leader).close()
        with accepted(leader) as far:
            far.sendall(GREETING)
            assert exactly(peer.socket, len(GREETING)) == GREETING


def test_a_leader_that_refuses_connections_is_tried_again(standby: Fronted, monkeypatch: pytest.MonkeyPatch) -> None:
    """The connection reaches a leader that begins to listen at the same address."""
    monkeypatch.setattr(front_module, "RETRY_S", 0.01)
    with fake_leader() as leader:
        address = Address(*leader.getsockname()[:2])
    with standby.connect() as peer:
        standby.served.within(lambda: standby.front.stand_by(address))
        standby.passes(1)
        with socket.create_server(address) as leader:
            leader.settimeout(SOON_S)
            with accepted(leader) as far:
                far.sendall(GREETING)
                assert exactly(peer.socket, len(GREETING)) == GREETING


def test_a_peer_that_ends_ends_its_connection_to_the_leader(standby: Fronted) -> None:
    """The leader notices at once that a worker has ended, as without a standby."""
    with fake_leader() as leader, standby.connect() as peer:
        standby.stand_by(leader)
        with accepted(leader) as far:
            far.sendall(GREETING)
            assert exactly(peer.socket, len(GREETING)) == GREETING
            peer.socket.close()
            assert far.recv(1) == b""
        standby.passes(0)


def test_a_connection_waits_for_a_leader_only_for_a_while() -> None:
    """Otherwise peers that send nothing would fill the standby."""
    with fronted(wait_s=0.05) as standby, standby.connect() as peer:
        assert peer.ends()
        standby.passes(0)


def test_first_bytes_without_an_answer_are_limited(standby: Fronted, monkeypatch: pytest.MonkeyPatch) -> None:
    """A peer without a key costs the standby little memory."""
    monkeypatch.setattr(front_module, "FIRST_BYTES_MAX", 1_000)
    with fake_leader() as leader, standby.connect() as peer:
        standby.stand_by(leader)
        with accepted(leader):
            peer.socket.sendall(b"x" * 1_001)
            assert peer.ends()


def test_connections_beyond_the_limit_are_closed() -> None:
    """The earlier ones stay."""
    with fronted(connections_max=1) as standby, standby.connect() as first:
        standby.passes(1)
        with standby.connect() as second:
            assert second.ends()
        standby.passes(1)
        standby.lead()
        first.authenticate()


def test_a_port_without_tls_is_not_passed_on(standby: Fronted) -> None:
    """The leader's port needs TLS; the connection is served once this master leads."""
    starting = standby.front.start(Address("127.0.0.1", 0), without_tls=True)
    address = asyncio.run_coroutine_threadsafe(starting, standby.served.loop).result(SOON_S)
    with fake_leader() as leader, Peer(socket.create_connection(address, SOON_S)) as peer:
        standby.stand_by(leader)
        with standby.connect(), accepted(leader):  # the other port works: the leader is known
            standby.passes(2)
            standby.lead()
            peer.authenticate()
            assert peer.ask("echo", 2) == (2,)


def test_a_leader_knows_the_key_of_a_peer_that_a_standby_passes_on(standby: Fronted) -> None:
    """The peer and the leader authenticate each other; the standby needs no key, and its own keys do not matter."""
    web = NamedKey(b"the key of the web program", Authority("web", ("submit",)))
    with serving(ring=KeyRing([web])) as leading:
        standby.served.within(lambda: standby.front.stand_by(leading.address))
        with standby.connect() as peer, standby.connect() as other:
            peer.authenticate(web.key)
            assert peer.ask("echo", 1) == (1,)
            (authority,) = {
                one.authority for one in leading.server.connections if one not in leading.server.unauthenticated
            }
            assert (authority.name, authority.roles_text) == ("web", "submit")
            with pytest.raises(AuthenticationFailed):
                other.authenticate()


def test_a_front_that_stops_listening_keeps_its_connections(standby: Fronted) -> None:
    """A master that drains serves the peers that it has."""
    with standby.connect() as peer:
        standby.passes(1)
        standby.served.within(standby.front.stop_listening)
        with pytest.raises(OSError), closing(socket.create_connection(standby.address, SOON_S)):
            pass
        standby.lead()
        peer.authenticate()


def test_an_address_in_use_is_an_error_in_words(standby: Fronted) -> None:
    """As for a master that is alone on its store."""
    starting = standby.front.start(standby.address)
    with pytest.raises(CannotListen, match=f"cannot listen at {standby.address}"):
        asyncio.run_coroutine_threadsafe(starting, standby.served.loop).result(SOON_S)
