"""Both ends prove the key, in every form that the standard library knows."""

import hmac
import itertools

import pytest

from distq.wire.errors import AuthenticationFailed
from distq.wire.handshake import CHALLENGE, DIGESTS, FAILURE, WELCOME, ClientHandshake, ServerHandshake

KEY = b"the key"
NONCE = bytes(range(32))
OTHER = bytes(range(100, 132))
OLD_NONCE = bytes(range(20))
SERVER_CHALLENGE = b"{sha256}" + NONCE


def mac(key: bytes, message: bytes, digest: str) -> bytes:
    """Return the MAC that a peer sends."""
    return hmac.new(key, message, digest).digest()


def named(key: bytes, message: bytes, digest: str) -> bytes:
    """Return the answer of Python 3.12 and newer."""
    return b"{%s}" % digest.encode() + mac(key, message, digest)


def converse(server: ServerHandshake, client: ClientHandshake) -> None:
    """Pass bodies between the two ends until neither has one to send."""
    to_client, to_server = [server.start()], list[bytes]()
    while to_client or to_server:
        to_server += itertools.chain.from_iterable(map(client.receive, to_client))
        to_client = list(itertools.chain.from_iterable(map(server.receive, to_server)))
        to_server = []


def test_the_two_ends_prove_the_key_to_each_other() -> None:
    """Both ends know when the handshake is over, and not earlier."""
    server, client = ServerHandshake([KEY], NONCE), ClientHandshake(KEY, OTHER)
    assert not server.done
    assert not client.done
    converse(server, client)
    assert server.done
    assert client.done


@pytest.mark.parametrize("keys", list(itertools.permutations([KEY, b"old", b"new"])))
def test_a_server_accepts_any_of_its_keys(keys: tuple[bytes, ...]) -> None:
    """While an operator rotates keys, the server answers each peer with the peer's own key."""
    for key in keys:
        server, client = ServerHandshake(keys, NONCE), ClientHandshake(key, OTHER)
        converse(server, client)
        assert server.done
        assert client.done


@pytest.mark.parametrize("key", [b"another", b"the key ", b"the ke", b"\0"])
def test_a_peer_with_a_wrong_key_receives_failure(key: bytes) -> None:
    """The server sends FAILURE, for which the standard library raises AuthenticationError."""
    server, client = ServerHandshake([KEY, b"old"], NONCE), ClientHandshake(key, OTHER)
    [answer] = client.receive(server.start())
    with pytest.raises(AuthenticationFailed, match="different authkey") as failed:
        server.receive(answer)
    assert failed.value.reply == FAILURE
    assert not server.done
    with pytest.raises(AuthenticationFailed, match="did not accept"):
        client.receive(FAILURE)


@pytest.mark.parametrize("digest", sorted(DIGESTS))
def test_the_server_takes_every_digest_that_is_named(digest: str) -> None:
    """The MAC covers the whole challenge, with any digest that the client chose."""
    server = ServerHandshake([b"old", KEY], NONCE)
    assert server.start() == CHALLENGE + SERVER_CHALLENGE
    assert server.receive(named(KEY, SERVER_CHALLENGE, digest)) == [WELCOME]
    challenge = b"{%s}" % digest.encode() + OTHER
    assert server.receive(CHALLENGE + challenge) == [named(KEY, challenge, digest)]
    assert server.receive(WELCOME) == []
    assert server.done


def test_the_server_speaks_the_old_dialect() -> None:
    """Python 3.11 and older answer with a bare HMAC-MD5, send 20 bytes, and expect the same."""
    server = ServerHandshake([b"old", KEY], NONCE)
    server.start()
    assert server.receive(mac(KEY, SERVER_CHALLENGE, "md5")) == [WELCOME]
    assert server.receive(CHALLENGE + OLD_NONCE) == [mac(KEY, OLD_NONCE, "md5")]
    assert server.receive(WELCOME) == []
    assert server.done


@pytest.mark.parametrize("digest", sorted(DIGESTS))
def test_the_client_takes_every_digest_that_is_named(digest: str) -> None:
    """Newer servers name a digest in their challenge, and accept an answer that names one."""
    client = ClientHandshake(KEY, NONCE)
    challenge = b"{%s}" % digest.encode() + OTHER
    assert client.receive(CHALLENGE + challenge) == [named(KEY, challenge, digest)]
    assert client.receive(WELCOME) == [CHALLENGE + SERVER_CHALLENGE]
    assert client.receive(named(KEY, SERVER_CHALLENGE, digest)) == [WELCOME]
    assert client.done


def test_the_client_speaks_the_old_dialect() -> None:
    """A challenge of 20 bytes requires a bare HMAC-MD5."""
    client = ClientHandshake(KEY, NONCE)
    assert client.receive(CHALLENGE + OLD_NONCE) == [mac(KEY, OLD_NONCE, "md5")]
    assert client.receive(WELCOME) == [CHALLENGE + SERVER_CHALLENGE]
    assert client.receive(mac(KEY, SERVER_CHALLENGE, "md5")) == [WELCOME]
    assert client.done


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"x",
        bytes(16),
        bytes(20),
        bytes(32),
        b"{sha256}",
        b"{sha256}" + bytes(32),
        b"{sha256}" + bytes(31),
        b"{sha1}" + mac(KEY, SERVER_CHALLENGE, "sha1"),
        b"{}" + bytes(32),
        b"{sha256" + bytes(32),
        b"{\xff\xff}" + bytes(32),
        mac(KEY, NONCE, "md5"),
        named(KEY, NONCE, "sha256"),
        mac(KEY, SERVER_CHALLENGE, "sha256"),
        CHALLENGE + SERVER_CHALLENGE,
        WELCOME,
        b"GET / HTTP/1.1\r\n\r\n",
    ],
)
def test_only_the_right_mac_is_accepted_as_proof(answer: bytes) -> None:
    """Neither end accepts another digest, another message, an echo or noise."""
    server = ServerHandshake([KEY], NONCE)
    server.start()
    with pytest.raises(AuthenticationFailed) as failed:
        server.receive(answer)
    assert failed.value.reply == FAILURE
    client = ClientHandshake(KEY, NONCE)
    client.receive(CHALLENGE + OLD_NONCE)
    client.receive(WELCOME)
    with pytest.raises(AuthenticationFailed):
        client.receive(answer)
    assert not client.done


@pytest.mark.parametrize(
    "challenge",
    [b"", b"hello", CHALLENGE, CHALLENGE + bytes(19), CHALLENGE + bytes(40), CHALLENGE + b"{sha1}" + bytes(40)],
)
def test_an_invalid_challenge_is_not_answered(challenge: bytes) -> None:
    """An answer to a short or unnamed challenge would give a peer the MAC of bytes that it chose."""
    server = ServerHandshake([KEY], NONCE)
    server.receive(named(KEY, SERVER_CHALLENGE, "sha256"))
    with pytest.raises(AuthenticationFailed):
        server.receive(challenge)
    with pytest.raises(AuthenticationFailed):
        ClientHandshake(KEY, NONCE).receive(challenge)


def test_the_server_closes_when_a_client_refuses_its_proof() -> None:
    """A client that does not accept the server's proof is closed."""
    server = ServerHandshake([KEY], NONCE)
    server.receive(named(KEY, SERVER_CHALLENGE, "sha256"))
    server.receive(CHALLENGE + OLD_NONCE)
    with pytest.raises(AuthenticationFailed, match="did not accept") as failed:
        server.receive(FAILURE)
    assert failed.value.reply is None


def test_a_finished_handshake_takes_no_more() -> None:
    """The session reads later frames; to pass them to the handshake is an error in distq."""
    server, client = ServerHandshake([KEY], NONCE), ClientHandshake(KEY, OTHER)
    converse(server, client)
    for end in (server, client):
        with pytest.raises(ValueError, match="over"):
            end.receive(b"")


def test_a_digest_that_the_machine_forbids_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the machine forbids MD5, an old peer receives the reason."""

    def forbidden(*_args: object) -> None:
        raise ValueError("unsupported hash type md5")

    monkeypatch.setattr(hmac, "digest", forbidden)
    with pytest.raises(AuthenticationFailed, match="md5 is not available"):
        ServerHandshake([KEY], NONCE).receive(bytes(16))


@pytest.mark.parametrize("nonce", [b"", bytes(19), bytes(129)])
def test_a_nonce_must_be_unguessable_and_fit_a_frame(nonce: bytes) -> None:
    """A nonce has at least twenty random bytes; the whole challenge is within the 256 bytes that peers read."""
    with pytest.raises(ValueError, match="nonce"):
        ServerHandshake([KEY], nonce)
    with pytest.raises(ValueError, match="nonce"):
        ClientHandshake(KEY, nonce)


def test_an_empty_key_is_no_key() -> None:
    """An empty setting admits no peer."""
    for keys in ([], [b""], [KEY, b""]):
        with pytest.raises(ValueError, match="key"):
            ServerHandshake(keys, NONCE)
    with pytest.raises(ValueError, match="key"):
        ClientHandshake(b"", NONCE)
