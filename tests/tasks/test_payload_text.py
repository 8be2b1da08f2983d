"""The text that describes a dead letter's payload has every readable value, and no code of the payload runs."""

import datetime as dt
import json
import pickle
import re
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest

from distq.client.by_value import ByValueSender
from distq.core.plurals import counted
from distq.tasks.failure import pack_failure
from distq.tasks.payload import pack_chunk, pack_json
from distq.tasks.payload_text import CHARS_MAX, NAMES_MAX, READ_BYTES_MAX, describe, failure_of, read
from distq.wire.inert import read_call
from distq.wire.splice import item


class Bomb:
    """An object that makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        """Return the call that makes the file."""
        return Path.touch, (self.path,)


class Order:
    """An application's object."""

    def __init__(self, number: int) -> None:
        self.number = number


def shown(*args: Any, **kwds: Any) -> str:
    """Return the text for a call of `f`."""
    texts = {describe(pickle.dumps((args, kwds), protocol), "f") for protocol in (2, 3, 4, 5)}
    return min(texts, key=len)


def test_plain_values_are_shown_as_python_writes_them() -> None:
    """Keys of dicts and members of sets are shown so too."""
    assert shown(1, "two", None, [3.5, (True,)], key={"a": {1: b"x"}}) == (
        "f(1, 'two', None, [3.5, (True,)], key={'a': {1: b'x'}})"
    )
    assert describe(pickle.dumps((({1, (2, 3)},), {}), 4), "f") in ("f({1, (2, 3)})", "f({(2, 3), 1})")


def test_objects_are_shown_by_the_names_of_their_classes() -> None:
    """The text includes the arguments that make them."""
    assert shown(dt.timedelta(1)) == "f(datetime.timedelta(1, 0, 0))"
    assert "Order({'number': 5})" in shown(Order(5)).replace("tests.tasks.test_payload_text.", "")
    assert "collections.OrderedDict" in shown(OrderedDict(a=1))
    assert shown(len, Order) in (
        "f(len, tests.tasks.test_payload_text.Order)",
        "f(__builtin__.len, tests.tasks.test_payload_text.Order)",
    )


def test_a_payload_that_is_shown_runs_no_code(tmp_path: Path) -> None:
    """No code of a payload runs, and none of an error."""
    bomb = pickle.dumps(((Bomb(tmp_path / "gone off"),), {}))
    assert "pathlib.Path.touch" in describe(bomb, "f") or "getattr" in describe(bomb, "f")
    failure_of(pickle.dumps((Bomb(tmp_path / "gone off"), "", "")))
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(TypeError):
        pickle.loads(bomb)[0][0]()
    assert [path.name for path in tmp_path.iterdir()] == ["gone off"]


def test_chunks_json_and_plain_items_are_shown_too() -> None:
    """Each value has the form in which the client gave it."""
    assert describe(pack_chunk([(1,), (2,)]), "f") == "2 calls: f(1), f(2)"
    assert describe(pack_json([1, "x"], {"y": None}), "f") == "f(1, 'x', y=None)"
    put = read_call(pickle.dumps(("work", "put", ({"a": 1},), {}), 4))
    assert describe(item(put), "plain", plain=True) == "{'a': 1}"


def test_a_payload_that_cannot_be_read_is_shown_by_its_size() -> None:
    """The payload is other data, too large, or nested too deeply; long texts are cut."""
    for payload in (b"", b"\x80nothing", b"{", json.dumps({"args": 1}).encode(), pickle.dumps(5)):
        assert describe(payload, "f") == f"not a call: {counted(len(payload), 'byte')}"
    assert describe(b"\x80" + b"x" * READ_BYTES_MAX, "f") == f"a pickle of {READ_BYTES_MAX + 1:,} bytes"
    nested = b"\x80\x04" + b"(" * 50_000 + b"t" * 50_000 + b"."
    assert "not a call: " in describe(nested, "f")
    assert shown("x" * 5000).endswith(f"... and {5005 - CHARS_MAX:,} more characters")
    names = read(b"\x80\x04(" + b"".join(b"cm\nn%d\n" % n for n in range(NAMES_MAX + 10)) + b"t.")
    assert [repr(name) for name in names[NAMES_MAX - 1 :]] == [f"m.n{NAMES_MAX - 1}"] + ["..."] * 10


def test_an_error_is_shown_as_its_executor_reported_it() -> None:
    """The error has type, text and traceback; they are empty for a task that was lost."""
    try:
        raise KeyError("gone")  # noqa: TRY301 - so that it has a traceback
    except KeyError as error:
        kind, text, lines = failure_of(pack_failure(error))
    assert (kind, text) == ("builtins:KeyError", "'gone'")
    assert "test_payload_text.py" in lines
    assert failure_of(b"") == ("", "", "")
    assert failure_of(b"\x80nothing")[0] == "unreadable"


def test_a_call_by_value_is_shown_with_its_arguments_only() -> None:
    """The code of the function and of its classes says nothing to an operator, and none of it is run."""

    class Local:
        """A class of the program."""

    def local(*_: object) -> None:
        """Do nothing."""

    sender = ByValueSender(1 << 20)
    assert (
        describe(sender.pack(local, (1, "a"), {"b": 2}), "distq.by_value:local") == "distq.by_value:local(1, 'a', b=2)"
    )
    shown = describe(sender.pack(local, (1, Local()), {}), "distq.by_value:local")
    assert re.fullmatch(r"distq\.by_value:local\(\.\.\.\): its arguments travel by value, [\d,]+ bytes", shown)
