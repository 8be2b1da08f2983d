"""No code of a result or an error runs on the machine of the operator, except with --unpickle."""

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest

from distq.cli.submit import FAILED, argument, print_outcome
from distq.client.future import TaskFuture
from distq.core.states import DEAD, EXPIRED, SUCCEEDED


class Trap:
    """An object that leaves a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str, str]]:
        return open, (str(self.path), "w")


def ended(state: int, body: bytes | None, causes: list[str] | None = None) -> TaskFuture[Any]:
    """Return a task's future that has received its outcome."""
    future: TaskFuture[Any] = TaskFuture()
    future.settle(state, body, causes)
    return future


@pytest.mark.parametrize("as_json", [False, True])
def test_plain_values_are_printed_as_json(as_json: bool, capsys: pytest.CaptureFixture[str]) -> None:
    """The result was stored as a pickle or as JSON."""
    value = {"a": [1, 2.5, None, True, "text"]}
    for body in (pickle.dumps(value), json.dumps(value).encode()):
        assert print_outcome(ended(SUCCEEDED, body), 1.0, as_json) == 0
        printed = json.loads(capsys.readouterr().out)
        assert (printed["result"] if as_json else printed) == value


@pytest.mark.parametrize("as_json", [False, True])
def test_a_result_that_json_does_not_have_is_shown_as_python_text(
    as_json: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    """JSON has no NaN and no infinity, and a program that reads the output would stop at them."""
    for body in (pickle.dumps([1.5, float("nan")]), b"[1.5, NaN]"):
        assert print_outcome(ended(SUCCEEDED, body), 1.0, as_json) == 0
        printed = capsys.readouterr().out
        if as_json:
            assert json.loads(printed, parse_constant=pytest.fail)["result"] == "[1.5, nan]"
        else:
            assert printed == "[1.5, nan]\n"


@pytest.mark.parametrize("body", [b'{"a": ' + b"[" * 100_000, b"[" + b"9" * 5_000 + b"]"])
def test_json_that_python_does_not_read_is_shown_by_its_size(body: bytes, capsys: pytest.CaptureFixture[str]) -> None:
    """The JSON is nested too deeply, or has a number of too many digits: another program wrote it."""
    assert print_outcome(ended(SUCCEEDED, body), 1.0, as_json=False) == 0
    printed = capsys.readouterr().out
    assert f"{len(body):,} bytes of JSON" in printed or printed.startswith("[999")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[" * 100_000, "nested more than 100 deep"),
        ("NaN", "'NaN' is not strict JSON: NaN is a word of Python. Send null, or a text in quotes."),
        ("[-Infinity]", "-Infinity is a word of Python"),
        ('"\udcff"', "half of a surrogate pair, which is no character"),
        (r'["\ud800"]', "half of a surrogate pair"),
        ("1e400", "the number 1e400 does not fit 64 bits. Send a text in quotes."),
        ('{"a": 1, "a": 2}', "an object has the key 'a' more than once"),
        ("[" + "x" * 5_000, "is not JSON"),
        ("9" * 5_000, "a whole number of more than 4,300 digits. Send a text in quotes."),
        ('{"a": -' + "9" * 5_000 + "}", "more than 4,300 digits"),
    ],
)
def test_an_argument_that_cannot_be_read_is_refused_in_a_short_sentence(text: str, expected: str) -> None:
    """The sentence says why, and repeats the argument only as far as it fits; the HTTP API refuses the same values."""
    with pytest.raises(click.BadParameter, match=expected) as refused:
        argument(text)
    assert len(str(refused.value)) < 200


@pytest.mark.parametrize("as_json", [False, True])
def test_a_result_of_a_class_is_shown_and_not_made(
    as_json: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The object is alone, or inside of a plain value; with --unpickle it is made."""
    flag = tmp_path / "flag"
    for value in (Trap(flag), {"deep": [Trap(flag)]}):
        assert print_outcome(ended(SUCCEEDED, pickle.dumps(value)), 1.0, as_json) == 0
        assert "io.open" in capsys.readouterr().out
    assert not flag.exists()
    assert print_outcome(ended(SUCCEEDED, b"\x80\x05 no pickle"), 1.0, as_json) == 0
    assert "--unpickle reads it" in capsys.readouterr().out
    assert print_outcome(ended(SUCCEEDED, pickle.dumps(flag)), 1.0, as_json, unpickle=True) == 0
    assert "PosixPath" in capsys.readouterr().out


@pytest.mark.parametrize("as_json", [False, True])
def test_an_error_is_shown_without_making_its_exception(
    as_json: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its type, text and traceback are texts."""
    flag = tmp_path / "flag"
    body_with_trap = pickle.dumps(("shop:Sold", "it is sold", "Traceback: here", pickle.dumps(Trap(flag))))
    for body in (body_with_trap, pickle.dumps((Trap(flag), "it is sold", "", None))):
        assert print_outcome(ended(DEAD, body, ["why"]), 1.0, as_json) == FAILED
        printed = capsys.readouterr()
        assert "it is sold" in printed.out + printed.err
    assert not flag.exists()
    for state, expected in ((DEAD, "oom"), (EXPIRED, "expired")):
        assert print_outcome(ended(state, None, ["oom"]), 1.0, as_json) == FAILED
        printed = capsys.readouterr()
        assert expected in printed.out + printed.err
