"""Split frames: large payloads and results travel beside the pickle, and become `bytes` without a copy."""

import gc
import pickle
import random
import struct
import sys
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distq.wire.errors import BadCall, BadReply, FrameTooLarge
from distq.wire.framing import PART_BYTES_MIN, PARTS_MAX, Framer, SplitFrame, pack, pack_split
from distq.wire.inert import read_call
from distq.wire.messages import beside, bodies_beside, decode_reply, pack_call, pack_returned
from distq.wire.splice import item

LIMIT = 1 << 20
LARGE = b"a large body" * 10_000


def framer_of(limit_bytes: int = LIMIT) -> Framer:
    """A framer at an end that has agreed on split frames."""
    framer = Framer(limit_bytes)
    framer.takes_split = True
    return framer


def contents(frame: bytes) -> tuple[bytes, list[bytes]]:
    """The pickle of a frame and its parts."""
    return bytes(frame), list(frame.parts) if isinstance(frame, SplitFrame) else []


def fed(framer: Framer, stream: bytes, sizes: random.Random) -> list[bytes]:
    """The frames of a stream that arrives in pieces, some of them by the framer's own room."""
    frames: list[bytes] = []
    at = 0
    while at < len(stream):
        piece = stream[at : at + sizes.choice((1, 3, 17, 1_000, 40_000, len(stream)))]
        room = framer.room
        if room is not None and sizes.random() < 0.5:
            piece = piece[: len(room)]
            room[: len(piece)] = piece
            framer.received(len(piece))
            piece, at = b"", at + len(piece)
        frames += framer.feed(piece)
        at += len(piece)
    return frames


frame_sizes = st.tuples(st.integers(0, 70_000), st.none() | st.lists(st.integers(0, 70_000), max_size=4))


@given(frames=st.lists(frame_sizes, max_size=5), seed=st.integers(0, 1 << 32))
def test_any_cut_of_a_stream_gives_the_same_frames(frames: list[tuple[int, list[int] | None]], seed: int) -> None:
    """Split or not, large or small, read into the framer's room or pushed: the frames are those that were packed."""
    sent: list[tuple[bytes, list[bytes]]] = []
    stream = b""
    for number, (size, part_sizes) in enumerate(frames):
        body = bytes([number]) * size
        parts = [bytes([100 + number]) * part for part in part_sizes or ()]
        sent.append((body, parts))
        stream += pack(body) if part_sizes is None else b"".join(pack_split(body, parts))
    framer = framer_of()
    assert [contents(frame) for frame in fed(framer, stream, random.Random(seed))] == sent
    assert not framer.partial


@given(frames=st.lists(frame_sizes, max_size=3), seed=st.integers(0, 1 << 32))
def test_a_too_large_split_frame_is_passed_over(frames: list[tuple[int, list[int] | None]], seed: int) -> None:
    """None of its bytes are kept, and the frames behind it are read."""
    framer = framer_of(300_000)
    stream = b"".join(pack_split(b"pickle", [bytes(200_000), bytes(100_000)]))
    table_bytes = len(stream) - 300_006
    with pytest.raises(FrameTooLarge) as refused:
        framer.feed(stream[:table_bytes])
    assert (refused.value.frame_bytes, refused.value.limit_bytes) == (300_006, 300_000)
    framer.skip()
    behind = b"".join(pack(bytes(size)) for size, _ in frames)
    assert fed(framer, stream[table_bytes:] + behind, random.Random(seed)) == [bytes(size) for size, _ in frames]


def test_a_split_frame_with_too_many_parts_is_above_any_limit() -> None:
    """No peer of distq sends it, and a table of lengths is not read for nothing."""
    with pytest.raises(FrameTooLarge):
        framer_of().feed(struct.pack("!iIQ", -2, PARTS_MAX + 1, 0))


def test_a_peer_without_a_proved_key_sends_no_split_frame() -> None:
    """Without the agreement its first four bytes are a length above any limit."""
    with pytest.raises(FrameTooLarge):
        Framer(256).feed(struct.pack("!iIQ", -2, 1, 10))


def test_the_length_of_a_frame_alone_takes_no_memory() -> None:
    """The system gives memory to the pages that are written, so a peer pays for what it takes."""

    def resident_bytes() -> int:
        return 4096 * int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])

    before_bytes = resident_bytes()
    framers = [framer_of(1 << 30) for _ in range(8)]
    for framer in framers:
        framer.feed(struct.pack("!iIQQ", -2, 1, 1, 64 << 20) + b"." + b"x" * 1_000)
    assert all(framer.room is not None and len(framer.room) == (64 << 20) - 1_000 for framer in framers)
    assert resident_bytes() - before_bytes < 64 << 20


@pytest.mark.parametrize("is_split", [False, True])
def test_a_body_that_is_received_into_the_room_is_not_copied(is_split: bool) -> None:
    """The buffer that was received into is the frame, or its part."""
    body = bytes(8 << 20)
    stream = b"".join(pack_split(b"pickle", [body])) if is_split else pack(body)
    framer = framer_of(1 << 30)
    tracemalloc.start()
    try:
        framer.feed(stream[:100])
        room = framer.room
        assert room is not None
        room[:] = memoryview(stream)[100:]
        framer.received(len(room))
        (frame,) = framer.feed(b"")
        assert tracemalloc.get_traced_memory()[1] < 9 << 20
    finally:
        tracemalloc.stop()
    assert contents(frame) == ((b"pickle", [body]) if is_split else (body, []))


# -- messages ----------------------------------------------------------------------------------


def through(parts: Any) -> bytes:
    """The frame that arrives for what one end sends."""
    (frame,) = framer_of(1 << 30).feed(b"".join(parts))
    return frame


def test_a_frame_that_its_connection_never_completes_is_freed_in_silence(monkeypatch: pytest.MonkeyPatch) -> None:
    """Python 3.15 reports a buffer that the garbage collector closes while there is a view of it."""
    reports: list[object] = []
    monkeypatch.setattr(sys, "unraisablehook", reports.append)
    connection: dict[str, Any] = {"framer": framer_of()}
    connection["itself"] = connection
    connection["framer"].push(pack(LARGE)[:1000])
    assert connection["framer"].pull() is None
    connection["room"] = connection["framer"].room[10:]
    del connection
    gc.collect()
    assert reports == []


def test_a_large_body_leaves_beside_the_pickle_and_arrives_as_bytes() -> None:
    """It is sent from where it is, and the reader of calls makes no copy of it either."""
    rows = [(1, b"small"), (2, LARGE), (3, None)]
    packed = pack_call("broker", "exchange", (beside(rows, 1), 5))
    assert len(packed) == 2
    assert isinstance(packed[1], memoryview)
    assert packed[1].obj is LARGE
    frame = through(packed)
    call = read_call(frame)
    assert (call.ident, call.method, call.args) == ("broker", "exchange", (rows, 5))
    assert isinstance(frame, SplitFrame)
    assert call.args[0][1][1] is frame.parts[0]
    reply = through(pack_returned((7, beside(rows, 1))))
    assert decode_reply(reply) == (7, rows)


def test_small_bodies_stay_in_the_pickle() -> None:
    """Frames without large bodies are what they always were, for every peer."""
    small = [b"x" * (PART_BYTES_MIN - 1), b""]
    assert bodies_beside(small) is small
    assert bodies_beside([]) == []
    rows = [(body,) for body in small]
    assert beside(rows, 0) is rows
    (packed,) = [b"".join(pack_call("broker", "submit", (small,)))]
    assert pickle.loads(packed[4:]) == ("broker", "submit", (small,), {})


def test_more_large_bodies_than_a_frame_has_parts_stay_in_the_pickle() -> None:
    """One vectored write takes about a thousand buffers."""
    bodies = [b"x" * PART_BYTES_MIN] * (PARTS_MAX + 5)
    frame = through(pack_call("broker", "submit", (bodies_beside(bodies),)))
    assert isinstance(frame, SplitFrame)
    assert len(frame.parts) == PARTS_MAX
    assert read_call(frame).args == (bodies,)


@pytest.mark.parametrize("parts", [None, [b"only one"]])
def test_a_pickle_that_needs_more_parts_than_it_has_is_refused(parts: list[bytes] | None) -> None:
    """It is the peer's error, at either end."""
    kept: list[pickle.PickleBuffer] = []
    marks = [pickle.PickleBuffer(LARGE)] * 2
    pickled = pickle.dumps(("broker", "submit", (marks,), {}), 5, buffer_callback=kept.append)
    frame = through([pack(pickled)] if parts is None else pack_split(pickled, parts))
    with pytest.raises(BadCall):
        read_call(frame)
    with pytest.raises(BadReply):
        decode_reply(frame)


def test_an_item_of_a_plain_queue_does_not_come_in_a_split_frame() -> None:
    """The item is kept as the pickle in which it came, and would lack its parts."""
    call = read_call(through(pack_call("work", "put", ([pickle.PickleBuffer(LARGE)],))))
    with pytest.raises(BadCall, match="split frame"):
        item(call)
