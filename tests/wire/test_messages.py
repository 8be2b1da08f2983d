"""Calls and replies have the form of multiprocessing.managers."""

import pickle
import pickletools
import queue
import sys

import pytest

from distq.wire.errors import BadReply, RemoteRefusal
from distq.wire.messages import decode_plain_reply, decode_reply, encode_call, raised, refused, returned


class OwnError(Exception):
    """An error that a standard-library program cannot import."""


def test_a_call_is_the_pickle_of_its_four_parts() -> None:
    """`managers.dispatch` sends the same call."""
    assert pickle.loads(encode_call("work", "get", (True,), {"timeout": 1})) == ("work", "get", (True,), {"timeout": 1})
    assert pickle.loads(encode_call(None, "dummy")) == (None, "dummy", (), {})


def test_a_value_comes_back_as_it_is() -> None:
    """The reply is in protocol 4, which every Python from 3.8 on reads."""
    body = returned({"a": [1]})
    assert pickle.loads(body) == ("#RETURN", {"a": [1]})
    assert body[:2] == b"\x80\x04"
    assert decode_reply(body) == {"a": [1]}


@pytest.mark.parametrize(
    "exc",
    [
        queue.Empty(),
        queue.Full(),
        ValueError("task_done() called too many times"),
        AttributeError("x"),
        OSError(2, "no"),
    ],
)
def test_an_exception_of_the_standard_library_is_raised_again(exc: Exception) -> None:
    """The class and the text are the same."""
    with pytest.raises(type(exc)) as caught:
        decode_reply(raised(exc))
    assert caught.value.args == exc.args


@pytest.mark.parametrize("exc", [queue.Empty(), queue.Full()])
def test_the_errors_of_queue_are_named_where_every_python_has_them(exc: Exception) -> None:
    """The private module `_queue` exists in one implementation only."""
    names = {argument for _, argument, _ in pickletools.genops(raised(exc)) if isinstance(argument, str)}
    assert names == {"#ERROR", "queue", type(exc).__name__}


@pytest.mark.parametrize("exc", [OwnError("broken"), ValueError(object())])
def test_an_exception_that_the_caller_cannot_import_becomes_a_refusal(exc: Exception) -> None:
    """A refusal contains the type and the text of the error."""
    with pytest.raises(RemoteRefusal, match=type(exc).__name__):
        decode_reply(raised(exc))


@pytest.mark.parametrize("sentence", ["Not here.", "Not here.\n"])
def test_a_refusal_is_a_sentence(sentence: str) -> None:
    """The text ends with a line feed, because the standard library prints dashes after it."""
    assert pickle.loads(refused(sentence)) == ("#TRACEBACK", "Not here.\n")
    with pytest.raises(RemoteRefusal, match=r"^Not here\.$"):
        decode_reply(refused(sentence))


def test_an_unserializable_answer_of_a_standard_library_server_is_a_refusal() -> None:
    """`#UNSERIALIZABLE` is a refusal too."""
    with pytest.raises(RemoteRefusal, match="lock"):
        decode_reply(pickle.dumps(("#UNSERIALIZABLE", "cannot pickle lock")))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"garbage",
        pickle.dumps(1),
        pickle.dumps(("#RETURN",)),
        pickle.dumps(("#PROXY", 1)),
        pickle.dumps(("#ERROR", "no exception")),
        b"cno_such_module\nThing\n.",
    ],
)
def test_a_frame_that_is_no_reply_raises_an_error(body: bytes) -> None:
    """The error keeps the frame, so that it is not lost."""
    with pytest.raises(BadReply) as bad:
        decode_reply(body)
    assert bad.value.body == body


class _Named:
    """An object whose pickle names a class of this module."""


def _naming() -> list[bytes]:
    """Replies that name a class or function, in each way that a pickle has."""
    by_protocol = [pickle.dumps(("#RETURN", named), protocol) for protocol in range(6) for named in (_Named(), _Named)]
    extensions = [
        b"\x80\x02\x8c\x07#RETURN%s\x86." % opcode for opcode in (b"\x82\x01", b"\x83\x01\x01", b"\x84\x01\x01\0\0")
    ]
    lines = [
        b"\x8c\x07#RETURN%s\x86." % opcode for opcode in (b"cno_such_module\nThing\n", b"(ino_such_module\nThing\n")
    ]
    return [*by_protocol, *extensions, *lines]


@pytest.mark.parametrize("body", _naming())
def test_a_reply_that_names_anything_is_refused(body: bytes) -> None:
    """The reader imports nothing."""
    with pytest.raises(BadReply):
        decode_plain_reply(body)


@pytest.mark.parametrize("opcode", [b"c", b"(i"])
@pytest.mark.parametrize("lines", [b"", b"colorsys", b"colorsys\n", b"colorsys\nONE"])
def test_a_name_whose_lines_have_no_end_is_not_imported(
    opcode: bytes, lines: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reader refuses the reply before it imports anything."""
    monkeypatch.delitem(sys.modules, "colorsys", raising=False)
    body = b"\x80\x05\x8c\x07#RETURN" + opcode + lines
    with pytest.raises(BadReply):
        decode_plain_reply(body)
    assert "colorsys" not in sys.modules


def test_a_reply_of_values_alone_is_read_by_either_reader() -> None:
    """A byte of a value that could be an opcode changes nothing but the time."""
    for value in (1, "text", b"\x93\n\n", [(1, b"body", None)], {"a": (2.5, True)}, "\u2013 and a line\nand another\n"):
        body = pickle.dumps(("#RETURN", value), 5)
        assert decode_plain_reply(body) == value == decode_reply(body)
