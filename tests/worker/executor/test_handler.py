"""Tests of the plain handler: how the executor finds it, and the outcomes of its runs."""

import pickle
import sys
from pathlib import Path
from typing import Any

import pytest

from distq.core.outcome import Outcome
from distq.tasks.failure import TimeLimitExceeded
from distq.worker.executor.handler import HandlerUnusable, load_handler, run_handler

MIB = 1 << 20


def test_a_handler_is_found_by_its_name() -> None:
    """The name may be of a function in a module, or in a class."""
    assert load_handler("operator:neg")(3) == -3
    assert load_handler("builtins:str.upper")("a") == "A"


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("no_such_module:f", r"The handler no_such_module:f cannot be imported: ModuleNotFoundError: No module named"),
        ("operator:no_such", r"cannot be imported: AttributeError: module 'operator' has no attribute 'no_such'"),
        ("sys:path", r"is not a function but list"),
    ],
)
def test_an_unusable_handler_is_an_error_with_the_reason(name: str, reason: str) -> None:
    """The user sees only the sentence; the command exits with 2."""
    with pytest.raises(HandlerUnusable, match=reason) as caught:
        load_handler(name)
    assert caught.value.exit_code == 2


def test_a_module_that_exits_at_import_is_a_handler_that_cannot_be_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The executor can describe any error of an import."""
    (tmp_path / "leaves_at_import.py").write_text("raise SystemExit(4)\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(HandlerUnusable, match="SystemExit: 4"):
        load_handler("leaves_at_import:f")
    sys.modules.pop("leaves_at_import", None)


def test_a_result_is_a_pickle_that_every_python_reads() -> None:
    """The pickle has protocol 4, because standard-library programs since 3.8 fetch it."""
    ran = run_handler(lambda item: [item], pickle.dumps(5), MIB)
    assert (ran.outcome, pickle.loads(ran.body)) == (Outcome.SUCCESS, [5])
    assert ran.body[:2] == b"\x80\x04"


def test_a_handler_that_exceeds_its_time_limit_has_that_outcome() -> None:
    """The outcome is counted apart from failures."""
    ran = run_handler(raises, pickle.dumps(TimeLimitExceeded("exceeded time limit 1 s")), MIB)
    assert (ran.outcome, ran.text) == (Outcome.TIMEOUT, "exceeded time limit 1 s")


def raises(error: Any) -> object:
    """Raise the argument."""
    raise error


@pytest.mark.parametrize(
    ("error", "text"), [(ValueError("bad\nitem"), "ValueError: bad\nitem"), (SystemExit(3), "SystemExit: 3")]
)
def test_an_exception_is_a_failure_with_type_text_and_traceback(error: BaseException, text: str) -> None:
    """That includes sys.exit(): a task must not end its executor by accident."""
    ran = run_handler(lambda _: raises(error), pickle.dumps(1), MIB)
    kind, message, trace = pickle.loads(ran.body)
    assert ran.outcome == Outcome.FAILURE
    assert ran.text == text
    assert (kind, message) == (type(error).__name__, str(error))
    assert "in raises" in trace


class WithoutText(Exception):
    """An exception that cannot be turned into text."""

    def __str__(self) -> str:
        raise RuntimeError("no")


def test_an_exception_without_a_text_is_a_failure_too() -> None:
    """Its `__str__` is user code and may raise."""
    ran = run_handler(lambda _: raises(WithoutText()), pickle.dumps(1), MIB)
    assert ran.text == "WithoutText: (its text cannot be had)"


def test_an_item_that_cannot_be_imported_here_is_a_failure() -> None:
    """The worker lives on; the text names the module."""
    ran = run_handler(lambda item: item, b"cno_such_module\nThing\n.", MIB)
    assert ran.outcome == Outcome.FAILURE
    assert "no_such_module" in ran.text


def test_a_result_that_cannot_be_pickled_or_is_too_large_is_final() -> None:
    """The executor does not send what the master would refuse."""
    assert run_handler(lambda _: lambda: None, pickle.dumps(1), MIB).outcome == Outcome.FATAL
    ran = run_handler(lambda _: b"x" * 2 * MIB, pickle.dumps(1), MIB)
    assert ran.outcome == Outcome.FATAL
    assert "DISTQ_PAYLOAD_BYTES_MAX" in ran.text


def test_long_texts_lose_their_beginning() -> None:
    """The end of a traceback matters most."""
    ran = run_handler(lambda _: raises(ValueError("x" * 100_000 + " the end")), pickle.dumps(1), MIB)
    assert len(ran.body) < 50_000
    assert ran.text.endswith("the end")
