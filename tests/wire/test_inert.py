"""The head of a call is readable whatever objects a peer has put in, and none of them is imported or called."""

import copyreg
import io
import pickle
import sys
from collections.abc import Iterator
from multiprocessing.managers import Token as StandardToken
from typing import Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.wire import kinds

from distq.wire.errors import BadCall
from distq.wire.inert import Inert, Token, read_call
from distq.wire.messages import encode_call

PROTOCOLS = (2, 3, 4, 5)

texts = st.text()
leaves = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | texts | st.binary()
values = st.recursive(
    leaves,
    lambda inner: st.lists(inner) | st.lists(inner).map(tuple) | st.dictionaries(texts, inner),
    max_leaves=30,
)


class Tripwire:
    """An object that leaves a trace if it is made from a pickle."""

    made: ClassVar[list[object]] = []

    def __reduce__(self) -> tuple[Any, ...]:
        return trip, ()


def trip() -> None:
    """Leave a trace."""
    Tripwire.made.append(1)


@pytest.fixture
def modules() -> Iterator[None]:
    """Fail the test if it imports or makes anything."""
    Tripwire.made.clear()
    before = set(sys.modules)
    yield
    assert set(sys.modules) == before
    assert Tripwire.made == []


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("kind", kinds.KINDS)
@pytest.mark.usefixtures("modules")
def test_the_head_is_read_around_every_kind_of_object(kind: str, protocol: int) -> None:
    """The ident, the method, the number of arguments and the plain arguments are real."""
    value = kinds.KINDS[kind]
    for args, kwds in [((value,), {}), ((value, True, 2.5), {}), ((), {"item": value, "timeout": 3})]:
        frame = pickle.dumps(("work", "put", args, kwds), protocol)
        call = read_call(frame)
        assert (call.ident, call.method, len(call.args), set(call.kwds)) == ("work", "put", len(args), set(kwds))
        assert call.args[1:] == args[1:]
        assert call.kwds.get("timeout") == kwds.get("timeout")
        assert call.frame is frame


@pytest.mark.parametrize("protocol", [0, 1, *PROTOCOLS])
def test_every_protocol_of_a_simple_call_is_read(protocol: int) -> None:
    """The two text protocols are read too, though no known client sends them."""
    call = ("work", "get", (True, 1.5, -7, 2**70, 200, 70000), {"a": "é", "b": [1, (2,)], "c": None})
    assert read_call(pickle.dumps(call, protocol))[:4] == call


@given(args=st.lists(values).map(tuple), kwds=st.dictionaries(texts, values), protocol=st.sampled_from([4, 5]))
def test_plain_values_arrive_unchanged(args: tuple[Any, ...], kwds: dict[str, Any], protocol: int) -> None:
    """Values of distq's own peers arrive unchanged: numbers, texts, bytes, lists, tuples, dicts with text keys."""
    call = ("broker", "exchange", args, kwds)
    assert read_call(pickle.dumps(call, protocol))[:4] == call


@given(item=values)
def test_the_quick_reading_of_a_put_agrees_with_the_careful_one(item: Any) -> None:
    """The first and last bytes of a frame show a put of one item; it has one argument, which is inert."""
    for protocol in (4, 5):
        call = read_call(pickle.dumps(("work", "put", (item,), {}), protocol))
        assert call[:4] == ("work", "put", (Inert,), {})


@pytest.mark.parametrize("args", [(), (1, 2), (1, 2, 3), (1, 2, 3, 4), ((1,), (2,))])
def test_a_put_of_another_shape_is_read_carefully(args: tuple[Any, ...]) -> None:
    """Only a put with one argument and no keywords is recognised by the ends of its frame."""
    assert read_call(encode_call("work", "put", args))[2] == args
    assert read_call(encode_call("work", "put", args, {"block": False}))[3] == {"block": False}
    assert read_call(encode_call("work", "puts", (1,)))[2] == (1,)
    assert read_call(encode_call(None, "put", (1,)))[:3] == (None, "put", (1,))


def test_an_ident_that_is_no_text_is_refused_quickly_too() -> None:
    """The ident of a put is decoded, and must be UTF-8."""
    frame = encode_call("work", "put", (1,)).replace(b"work", b"\xff\xff\xff\xff")
    with pytest.raises(BadCall):
        read_call(frame)


@pytest.mark.usefixtures("modules")
def test_a_name_in_a_pickle_is_neither_imported_nor_called() -> None:
    """A hostile pickle attacks with a reducer."""
    call = read_call(encode_call("broker", "hello", (Tripwire(), [Tripwire()], {"a": Tripwire()})))
    assert call.args == (Inert, [Inert], {"a": Inert})


def test_persistent_ids_are_inert() -> None:
    """The test covers numbers, texts and the pairs that libraries use."""

    class Pickler(pickle.Pickler):
        def persistent_id(self, obj: Any, /) -> Any:
            return obj[1] if type(obj) is tuple and obj[:1] == ("pid",) else None

    for protocol in (0, *PROTOCOLS):
        for pid in (["a", "b"], {"k": 1}, ("storage", 1), 7, "text") if protocol else ("text",):
            buffer = io.BytesIO()
            Pickler(buffer, protocol).dump(("work", "put", (("pid", pid), 2), {}))
            call = read_call(buffer.getvalue())
            assert call.args[1] == 2
            assert call.args[0] in (Inert, {"a": "b"})


@pytest.mark.parametrize("code", kinds.EXTENSION_CODES)
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_extension_codes_are_inert(code: int, protocol: int) -> None:
    """A code that is not registered is no reason to refuse the call."""
    copyreg.add_extension(kinds.Coded.__module__, "Coded", code)
    try:
        frame = pickle.dumps(("work", "put", (kinds.Coded(), kinds.Coded, 3), {}), protocol)
    finally:
        copyreg.remove_extension(kinds.Coded.__module__, "Coded", code)
    assert b"Coded" not in frame
    assert read_call(frame).args == (Inert, Inert, 3)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_the_token_of_get_methods_is_understood(protocol: int) -> None:
    """The token is the one object of the standard library that the master must read."""
    token = StandardToken("get_work_queue", ("127.0.0.1", 1), "work")
    [copy] = read_call(pickle.dumps((None, "get_methods", (token,), {}), protocol)).args
    assert type(copy) is Token
    assert copy.ident == "work"


@pytest.mark.parametrize("state", [None, (1, 2), (1, 2, 3), [1, 2, "work"]])
def test_a_token_of_another_shape_means_nothing(state: object) -> None:
    """Its ident stays None."""
    token = Token()
    token.__setstate__(state)
    assert token.ident is None


@pytest.mark.parametrize(
    "value",
    [
        None,
        (),
        ("work", "put", ()),
        ["work", "put", (), {}],
        ("work", "put", (), {}, 1),
        (1, "put", (), {}),
        ("work", b"put", (), {}),
        ("work", None, (), {}),
        ("work", "put", [], {}),
        ("work", "put", (), []),
        (kinds.Outer, "put", (), {}),
        ("work", kinds.Outer, (), {}),
        ("work", "put", kinds.Outer, {}),
        ("work", "put", (), kinds.Outer()),
    ],
)
def test_an_invalid_call_is_refused_with_an_error(value: object) -> None:
    """The connection stays usable."""
    with pytest.raises(BadCall, match=r"^This is not a call: .*\.$"):
        read_call(pickle.dumps(value))
