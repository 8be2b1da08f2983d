"""A session returns the same events wherever the network cuts its bytes."""

import hmac
import pickle
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.wire.reading import all_events

from distq.wire.framing import pack
from distq.wire.handshake import CHALLENGE, FAILURE, WELCOME
from distq.wire.inert import InertCall, read_call
from distq.wire.messages import encode_call
from distq.wire.server_reader import EVENTS_MAX, Authenticated, Closed, Event, PeerRefused, Send, ServerReader

KEY, NONCE, OTHER = b"the key", bytes(range(40)), bytes(range(100, 140))
FRAME_BYTES_MAX = 1000

SERVER_CHALLENGE = b"{sha256}" + NONCE
CLIENT_CHALLENGE = b"{sha256}" + OTHER
OLD_CHALLENGE = bytes(range(20))


def named(message: bytes) -> bytes:
    """Return the proof of Python 3.12 and newer."""
    return b"{sha256}" + hmac.new(KEY, message, "sha256").digest()


def bare(message: bytes) -> bytes:
    """Return the proof of Python 3.11 and older."""
    return hmac.new(KEY, message, "md5").digest()


NEW = [named(SERVER_CHALLENGE), CHALLENGE + CLIENT_CHALLENGE, WELCOME]
OLD = [bare(SERVER_CHALLENGE), CHALLENGE + OLD_CHALLENGE, WELCOME]
PUT = encode_call("work", "put", (b"x" * 300,))
GET = encode_call("work", "get", (True,), {"timeout": 1})
BAD = pickle.dumps("hello")

# The frames that a peer sends, and the kinds of the events that follow.
CONVERSATIONS: dict[str, tuple[list[bytes], list[type[Event]]]] = {
    "new peer": ([*NEW, PUT, GET], [Send, Send, Authenticated, InertCall, InertCall]),
    "old peer": ([*OLD, GET, PUT], [Send, Send, Authenticated, InertCall, InertCall]),
    "bad calls": ([*NEW, BAD, b"", GET], [Send, Send, Authenticated, PeerRefused, PeerRefused, InertCall]),
    "frame too large": ([*NEW, GET, b"x" * 1001, GET], [Send, Send, Authenticated, InertCall, PeerRefused, InertCall]),
    "wrong key": ([bytes(16), *NEW], [Closed]),
    "no challenge": ([NEW[0], b"hello", GET], [Send, Closed]),
    "our proof is refused": ([*NEW[:2], FAILURE, GET], [Send, Send, Closed]),
    "large frame before the proof": ([b"x" * 257, *NEW], [Closed]),
    "large frame in the handshake": ([*NEW[:2], PUT, GET], [Send, Send, Closed]),
    "largest frame in the handshake": ([b"x" * 256], [Closed]),
}


def session() -> ServerReader:
    """Return a session that has sent its challenge."""
    fresh = ServerReader([b"old", KEY], NONCE, FRAME_BYTES_MAX)
    assert fresh.start() == pack(CHALLENGE + SERVER_CHALLENGE)
    return fresh


def events(stream: bytes, cuts: list[int]) -> list[Event]:
    """Return the events of a stream that arrives in these pieces."""
    listening = session()
    edges = [0, *cuts, len(stream)]
    return [event for a, b in pairwise(edges) for event in listening.receive(stream[a:b])]


@pytest.mark.parametrize("name", CONVERSATIONS)
def test_a_cut_at_any_position_changes_nothing(name: str) -> None:
    """The events are the same for the whole stream, for one cut anywhere, and byte by byte."""
    received, expected = CONVERSATIONS[name]
    stream = b"".join(map(pack, received))
    whole = events(stream, [])
    assert [type(event) for event in whole] == expected
    for position in range(len(stream)):
        assert events(stream, [position]) == whole
    assert events(stream, list(range(1, len(stream)))) == whole


@given(
    frames=st.lists(st.sampled_from([PUT, GET, BAD, b"", b"x" * 1001]), max_size=6),
    dialect=st.sampled_from([NEW, OLD]),
    places=st.lists(st.integers(0, 5000), max_size=12),
)
def test_cuts_at_many_positions_change_nothing(frames: list[bytes], dialect: list[bytes], places: list[int]) -> None:
    """Any frames, in any pieces, give the same events."""
    stream = b"".join(map(pack, [*dialect, *frames]))
    cuts = sorted(place % (len(stream) + 1) for place in places)
    assert events(stream, cuts) == events(stream, [])


@pytest.mark.parametrize(("dialect", "proof"), [(NEW, named(CLIENT_CHALLENGE)), (OLD, bare(OLD_CHALLENGE))])
def test_the_handshake_is_answered_in_the_peers_dialect(dialect: list[bytes], proof: bytes) -> None:
    """The server uses the key that the peer has, though it is not the first one."""
    listening = session()
    assert listening.receive(pack(dialect[0])) == [Send(pack(WELCOME))]
    assert listening.receive(pack(dialect[1])) == [Send(pack(proof))]
    assert not listening.authenticated
    assert listening.receive(pack(dialect[2])) == [Authenticated()]
    assert listening.authenticated


def test_a_wrong_key_is_answered_and_reported() -> None:
    """The close says that the key was wrong, and has the FAILURE to send before it, now or after a pause."""
    (closed,) = session().receive(pack(b"{sha256}" + bytes(32)))
    assert closed == Closed("The other end has a different authkey.", True, pack(FAILURE))


@pytest.mark.parametrize(
    "noise", [b"GET / HTTP/1.1\r\n\r\n", b"\xff\xff\xff\xff" + bytes([1]) * 8, b"\x16\x03\x01\x02\x00"]
)
def test_a_peer_of_another_protocol_is_closed_immediately(noise: bytes) -> None:
    """For a browser, a scanner, or a frame of four gigabytes the session does not wait, and reports no wrong key."""
    listening = session()
    [closed] = listening.receive(noise)
    assert isinstance(closed, Closed)
    assert not closed.authentication_failed


def test_an_invalid_call_is_refused_and_the_next_is_read() -> None:
    """The refusal is a complete reply, as the standard library expects it."""
    listening = session()
    listening.receive(b"".join(map(pack, NEW)))
    refusal, call = listening.receive(pack(BAD) + pack(GET))
    assert isinstance(refusal, PeerRefused)
    kind, sentence = pickle.loads(refusal.reply[4:])
    assert kind == "#TRACEBACK"
    assert sentence.startswith("This is not a call")
    assert call == read_call(GET)


def test_a_frame_above_the_limit_is_refused_with_both_numbers_and_passed_over() -> None:
    """The caller receives the limit immediately; none of the frame's bytes are stored, and the next call is read."""
    listening = session()
    listening.receive(b"".join(map(pack, NEW)))
    large = pack(b"x" * 1001)
    [refusal] = listening.receive(large[:4])
    assert isinstance(refusal, PeerRefused)
    kind, sentence = pickle.loads(refusal.reply[4:])
    assert kind == "#TRACEBACK"
    assert "1,001" in sentence
    assert "1,000" in sentence
    assert listening.receive(large[4:] + pack(GET)) == [read_call(GET)]


@pytest.mark.parametrize(
    "length",
    [
        b"\xff\xff\xff\xff" + bytes([0, 0, 0, 1]) + bytes(4),
        b"\xff\xff\xff\xfe" + (1 << 20).to_bytes(4, "big") + bytes(8),
        b"\xff\xff\xff\xfd",
    ],
)
def test_an_impossible_length_ends_the_connection_with_an_error(length: bytes) -> None:
    """The session does not wait for a body above two gigabytes or below zero."""
    listening = session()
    listening.receive(b"".join(map(pack, NEW)))
    received, closed = listening.receive(length)
    assert isinstance(received, Send)
    assert isinstance(closed, Closed)
    assert "1,000" in pickle.loads(received.data[4:])[1]
    assert not closed.authentication_failed


def test_a_closed_session_is_silent() -> None:
    """The session does not read later bytes."""
    listening = session()
    assert listening.receive(b"garbage")
    assert listening.receive(b"".join(map(pack, NEW))) == []


def test_one_read_returns_few_events_and_the_others_later() -> None:
    """A peer that sends many calls ahead has some of them unpickled at a time; their order stays."""
    listening = session()
    listening.receive(b"".join(map(pack, NEW)))
    calls = [encode_call("work", "get", (number,)) for number in range(50)]
    found = listening.receive(b"".join(map(pack, calls)) + pack(PUT)[:5])
    assert len(found) == EVENTS_MAX
    found += [*all_events(listening, b""), *listening.receive(pack(PUT)[5:])]
    assert found == [read_call(body) for body in (*calls, PUT)]
