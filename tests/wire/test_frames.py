"""No pickle that is read or sent here has a FRAME within another one, or an opcode across a FRAME's end."""

import pickle
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.wire import kinds, programs
from tests.wire.frames import check_frames, returned_item

from distq.wire.inert import read_call
from distq.wire.messages import created, encode_call, raised, refused, returned
from distq.wire.opcodes import disarm
from distq.wire.splice import item

PROTOCOLS = (2, 3, 4, 5)
FRAMED_FROM_BYTES = 64 * 1024
"""Bytes above which the standard library's pickler ends a FRAME, and writes long bytes and texts outside of one."""

loads_in_python: Any = pickle._loads  # type: ignore[attr-defined]

sizes = st.integers(-40, 40).map(lambda more: FRAMED_FROM_BYTES + more) | st.sampled_from([0, 1, 300, 200_000])
payloads = sizes.flatmap(
    lambda size: st.sampled_from(
        [
            b"x" * size,
            "x" * size,
            "é" * (size // 2),
            bytearray(size),
            list(range(size // 3)),
            [b"x" * 300] * (size // 300),
        ]
    )
)
nested = st.recursive(
    payloads | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(st.text(max_size=3) | st.integers(), inner, max_size=3)
    ),
    max_leaves=4,
)
shapes: list[Callable[[Any], tuple[str, tuple[Any, ...], dict[str, Any]]]] = [
    lambda payload: ("put", (payload,), {}),
    lambda payload: ("put", (payload, True, 5), {}),
    lambda payload: ("put", (), {"block": False, "item": payload}),
    lambda payload: ("put_nowait", (payload,), {}),
    lambda payload: ("submit", (1, [("a", 1)], [(0, 1)], [payload, payload], 0.5), {}),
]


@given(payload=nested, protocol=st.sampled_from(PROTOCOLS), shape=st.sampled_from(shapes))
def test_the_unpickler_reads_no_frame_within_a_frame(payload: Any, protocol: int, shape: Any) -> None:
    """The master reads a call of any size and protocol, and passes one FRAME to the unpickler."""
    method, args, kwds = shape(payload)
    frame = pickle.dumps(("work", method, args, kwds), protocol)
    check_frames(frame)
    assert check_frames(disarm(frame)) == 1
    call = read_call(frame)
    assert (call.ident, call.method, len(call.args), set(call.kwds)) == ("work", method, len(args), set(kwds))


@given(payload=nested, protocol=st.sampled_from(PROTOCOLS), shape=st.sampled_from(shapes[:4]))
def test_an_item_that_passes_through_has_no_frame_within_a_frame(payload: Any, protocol: int, shape: Any) -> None:
    """A stored and sent item keeps the frames of its program, and both unpicklers read it."""
    method, args, kwds = shape(payload)
    body = item(read_call(pickle.dumps(("work", method, args, kwds), protocol)))
    reply = returned_item(body)
    assert check_frames(body) == check_frames(reply)
    assert pickle.loads(body) == loads_in_python(body) == payload
    assert pickle.loads(reply) == loads_in_python(reply) == ("#RETURN", payload)


@given(payload=nested)
def test_calls_and_replies_have_no_frame_within_a_frame(payload: Any) -> None:
    """None of the bodies that `messages` writes has one, with any payload."""
    text = f"{payload}"
    for written in (
        encode_call("broker", "submit", (1, [payload], 0.5), {"more": payload}),
        returned(payload),
        returned_item(pickle.dumps(payload, 5)),
        created("work", ("get", text)),
        refused(text),
        raised(ValueError(text)),
        raised(OverflowError(text)),
    ):
        check_frames(written)


def framed(pickled: bytes) -> bytes:
    """Return a pickle within one more FRAME."""
    return pickle.FRAME + struct.pack("<Q", len(pickled)) + pickled


@pytest.mark.parametrize("size", [1, FRAMED_FROM_BYTES - 60, FRAMED_FROM_BYTES + 60, 1_000_000])
def test_a_call_with_a_frame_within_a_frame_is_read_all_the_same(size: int) -> None:
    """No pickler of the standard library writes such a call, but FRAMEs do not change a call, so it is not refused."""
    pickled = pickle.dumps(("work", "get", ("x" * size, {"a": 1}), {}), 5)
    for frame in (framed(pickled), framed(framed(pickled)), pickled[:2] + framed(pickled[2:])):
        assert check_frames(disarm(frame)) == 1
        assert read_call(frame)[:4] == ("work", "get", ("x" * size, {"a": 1}), {})


@pytest.mark.parametrize(
    "wrong",
    [
        framed(pickle.dumps([1, 2], 4)),
        pickle.FRAME + struct.pack("<Q", 1) + b"K\x01.",
        pickle.FRAME + struct.pack("<Q", 9) + b"N.",
    ],
    ids=["a frame within a frame", "an opcode across the end", "cut short"],
)
def test_the_check_of_frames_can_fail(wrong: bytes) -> None:
    """The check finds a violation of each of its three rules."""
    with pytest.raises(AssertionError, match="FRAME"):
        check_frames(wrong)


READS_ALL = """
import pickle, sys
for reads in (pickle.loads, pickle._loads):
    with open(sys.argv[1], "rb") as stream:
        for size in map(int, sys.argv[2:]):
            kind, value = reads(stream.read(size))
            assert kind == "#RETURN" and len(value) > 0, kind
print("read")
"""


def test_every_python_reads_items_and_results(interpreter: str, tmp_path: Path) -> None:
    """Both unpicklers read items and results, below and above the size from which a pickler writes several FRAMEs."""
    replies = []
    for value in ("large bytes", "large list", "unicode", "primitives"):
        payload = kinds.KINDS[value]
        for protocol in (2, 4):
            body = item(read_call(pickle.dumps(("work", "put", (payload, True), {}), protocol)))
            replies += [returned_item(body), returned(payload), returned_item(pickle.dumps(payload, protocol))]
    (tmp_path / "replies").write_bytes(b"".join(replies))
    arguments = (str(tmp_path / "replies"), *(str(len(reply)) for reply in replies))
    assert programs.run(interpreter, READS_ALL, *arguments) == "read"
