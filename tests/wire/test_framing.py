"""Frames are the same wherever the network cuts the bytes, and a frame above the limit costs no memory."""

import itertools
import struct
from multiprocessing.connection import Connection
from socket import socketpair

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distq.wire.errors import FrameTooLarge
from distq.wire.framing import Framer, header, pack, pack_parts


@given(bodies=st.lists(st.binary(max_size=40), max_size=8), cuts=st.lists(st.integers(0, 400), max_size=10))
def test_any_cut_of_a_stream_gives_the_same_frames(bodies: list[bytes], cuts: list[int]) -> None:
    """A frame is what the sender packed, not what one read returned."""
    stream = b"".join(map(pack, bodies))
    framer = Framer(40)
    edges = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    frames = [frame for a, b in itertools.pairwise(edges) for frame in framer.feed(stream[a:b])]
    assert frames == bodies
    assert not framer.partial


@given(
    bodies=st.lists(st.binary(max_size=12), min_size=1, max_size=2), cut=st.integers(0, 40), limit=st.integers(0, 12)
)
def test_a_read_that_is_one_frame_is_taken_as_it_is(bodies: list[bytes], cut: int, limit: int) -> None:
    """The read must be exactly one frame: no part of one, nothing after or before it, and not above the limit."""
    data = b"".join(map(pack, bodies))[:cut]
    framer = Framer(limit)
    whole = framer.whole(data)
    assert whole == (bodies[0] if data == pack(bodies[0]) and len(bodies[0]) <= limit else None)
    assert not framer.partial
    framer = Framer(100)
    framer.feed(pack(b"begun")[:6])
    assert framer.whole(data) is None


@pytest.mark.parametrize("held", [1, 3, 4, 5])
def test_the_flag_partial_is_true_for_an_unfinished_frame(held: int) -> None:
    """The end that closes a connection can distinguish a break within a frame from an end."""
    framer = Framer(10)
    assert framer.feed(pack(b"abc")[:held]) == []
    assert framer.partial


@pytest.mark.parametrize(
    ("head", "announced"),
    [
        (struct.pack("!i", 257), 257),
        (struct.pack("!iQ", -1, 2**40), 2**40),
        (struct.pack("!iQ", -1, 257), 257),
        (struct.pack("!i", -2), 2**32 - 2),
        (b"GET ", 0x47455420),
    ],
)
def test_a_length_above_the_limit_is_refused_before_its_body(head: bytes, announced: int) -> None:
    """The length alone decides; a peer cannot make this end store a body that it will refuse."""
    with pytest.raises(FrameTooLarge) as refused:
        Framer(256).feed(head)
    assert (refused.value.frame_bytes, refused.value.limit_bytes) == (announced, 256)
    assert f"{announced:,}" in str(refused.value)


def test_frames_before_a_too_long_one_are_given_first() -> None:
    """A standard-library server sends FAILURE and then a long traceback: the first frame contains the reason."""
    framer = Framer(256)
    assert framer.feed(pack(b"#FAILURE#") + pack(b"x" * 300)) == [b"#FAILURE#"]
    with pytest.raises(FrameTooLarge):
        framer.feed(b"")
    framer.limit_bytes = 300
    assert framer.feed(b"") == [b"x" * 300]


@given(cuts=st.lists(st.integers(0, 600), max_size=10))
def test_a_too_long_frame_can_be_passed_over(cuts: list[int]) -> None:
    """Wherever it is cut, none of its bytes are stored, and the next frame is read."""
    framer = Framer(40)
    stream = pack(b"x" * 500) + pack(b"next")
    frames: list[bytes] = []
    edges = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    for a, b in itertools.pairwise(edges):
        try:
            frames += framer.feed(stream[a:b])
        except FrameTooLarge:
            framer.skip()
            frames += framer.feed(b"")
    assert frames == [b"next"]
    assert not framer.partial


def test_the_long_form_of_a_length_is_read_once_it_is_whole() -> None:
    """A length of 64 bits may also announce a small body."""
    framer = Framer(10)
    stream = struct.pack("!iQ", -1, 3) + b"abc"
    assert framer.feed(stream[:11]) == []
    assert framer.feed(stream[11:]) == [b"abc"]


def test_bodies_above_two_gigabytes_get_the_long_form() -> None:
    """The signed 32-bit length ends at 0x7fffffff."""
    assert header(0x7FFFFFFF) == b"\x7f\xff\xff\xff"
    assert header(0x80000000) == b"\xff\xff\xff\xff\0\0\0\0\x80\0\0\0"


@pytest.mark.parametrize("size", [0, 1, 16 * 1024, 16 * 1024 + 1, 300_000])
def test_the_standard_library_reads_a_packed_frame(size: int) -> None:
    """Its Connection reads the body, sent in one part or in two."""
    body = b"x" * size
    near, far = socketpair()
    with near, Connection(far.detach()) as connection:
        assert b"".join(pack_parts(body)) == pack(body)
        # Larger than a socket holds: read while it is written.
        view = memoryview(pack(body))
        if size < 100_000:
            near.sendall(view)
            assert connection.recv_bytes() == body
        else:
            connection.send_bytes(body[:100_000])
            assert Framer(size).feed(near.recv(100_004, 0x100)) == [body[:100_000]]


def test_a_large_body_is_not_copied() -> None:
    """The same object follows its length."""
    body = b"x" * 20_000
    assert pack_parts(body)[1] is body
