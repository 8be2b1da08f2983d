"""Items pass through as bytes, and arrive unchanged."""

import pickle
from typing import Any

import pytest
from tests.wire import kinds
from tests.wire.frames import returned_item

from distq.wire.errors import BadCall
from distq.wire.framing import pack
from distq.wire.inert import read_call
from distq.wire.messages import decode_reply, encode_call
from distq.wire.splice import item, packed_item

loads_in_python: Any = pickle._loads  # type: ignore[attr-defined]


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4, 5])
@pytest.mark.parametrize("kind", ["dataclass", "large list", "large bytes", "dict of any keys", "primitives", "enum"])
def test_an_item_comes_out_as_it_went_in(kind: str, protocol: int) -> None:
    """The client gives the item by position or by keyword; the C unpickler or the one in Python reads it."""
    value = kinds.KINDS[kind]
    for args, kwds in [((value,), {}), ((value, True), {}), ((), {"block": True, "item": value})]:
        body = item(read_call(pickle.dumps(("work", "put", args, kwds), protocol)))
        assert pickle.loads(body) == loads_in_python(body) == value
        reply = returned_item(body)
        assert decode_reply(reply) == value
        assert loads_in_python(reply) == ("#RETURN", value)
        assert b"".join(packed_item(body)) == pack(reply)


@pytest.mark.parametrize("kind", kinds.KINDS)
def test_every_kind_of_item_is_the_same_bytes_when_pickled_again(kind: str) -> None:
    """The item does not show that it has passed through the master."""
    value = kinds.KINDS[kind]
    through = pickle.loads(item(read_call(encode_call("work", "put", (value,)))))
    assert pickle.dumps(through) == pickle.dumps(pickle.loads(pickle.dumps(value)))


def test_each_argument_can_be_spliced() -> None:
    """The argument need not be the first one."""
    call = read_call(encode_call("work", "m", tuple(range(400)), {"é": 5}))
    assert pickle.loads(item(call, 1)) == 1
    assert pickle.loads(item(call, 399)) == 399
    assert pickle.loads(item(call, 400, "é")) == 5


def test_a_put_without_an_item_is_refused() -> None:
    """The refusal is the same as for any method that lacks an argument."""
    with pytest.raises(BadCall, match="item"):
        item(read_call(encode_call("work", "put")))


@pytest.mark.parametrize("protocol", [0, 2, 5])
def test_a_pickle_of_a_worker_is_a_body_too(protocol: int) -> None:
    """A result that a worker pickled is returned in the same way."""
    assert decode_reply(returned_item(pickle.dumps({"a": (1, 2)}, protocol))) == {"a": (1, 2)}


def test_a_large_item_is_not_copied_on_its_way_out() -> None:
    """The sender writes the original bytes."""
    body = pickle.dumps(b"x" * 100_000)
    part = packed_item(body)[1]
    assert isinstance(part, memoryview)
    assert part.obj is body
