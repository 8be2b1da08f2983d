"""Tests of values that travel by value: they are read only where their versions allow it."""

import pickle
import sys
from typing import Any

import pytest

import distq
from distq.client.by_value import ByValueSender
from distq.tasks import by_value
from distq.tasks.by_value import FunctionByValue, code_of, dump, read_function, read_value, wrapped
from distq.tasks.codec import PROTOCOL


def adder(step: int) -> Any:
    """Return a closure."""
    return lambda number: number + step


def test_a_closure_is_read_as_a_function() -> None:
    """The value inside the pickle is the function with its closure."""
    assert pickle.loads(wrapped("It", code_of(adder(3))))(4) == 7


def test_code_of_another_minor_version_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """The bytes are never unpickled, and the error names both versions."""
    monkeypatch.setattr(by_value, "PYTHON", "Python 3.99")
    body = wrapped("The function f", b"not a pickle")
    monkeypatch.undo()
    expected = rf"^The function f was sent by value by Python 3\.99, and this process runs {by_value.PYTHON}: code"
    with pytest.raises(distq.ValueUnreadable, match=expected) as caught:
        pickle.loads(body)
    assert caught.value.hint


def test_a_process_without_cloudpickle_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker and a client each have a sentence with the command."""
    body = wrapped("The function f", code_of(adder(3)))
    monkeypatch.setitem(sys.modules, "cloudpickle", None)
    with pytest.raises(distq.ValueUnreadable, match=r"not installed here: pip install 'distq\[cloudpickle\]'"):
        pickle.loads(body)
    with pytest.raises(distq.ExtraMissing, match=r"by_value=True\) needs cloudpickle: pip install"):
        ByValueSender(1000)


def test_an_error_while_it_is_read_is_its_cause() -> None:
    """A module that is missing here is named; so are two versions of cloudpickle."""
    body = code_of(adder(3)).replace(b"distq", b"distr").replace(b"tests.tasks", b"tests.tusks")
    with pytest.raises(
        distq.ValueUnreadable, match=r"cannot be read here \(cloudpickle 0\.1 wrote it, and .*No module"
    ):
        read_value(
            "The function f", by_value.PYTHON, "0.1", pickle.dumps(distq.task).replace(b"distq", b"distr") or body
        )


def test_the_same_bytes_are_read_once() -> None:
    """A process that gets many tasks of one function keeps it, and at most some functions."""
    body = code_of(adder(5))
    first = read_function("It", by_value.PYTHON, "", body)
    assert read_function("It", by_value.PYTHON, "", body) is first
    for step in range(by_value.KEPT_FUNCTIONS_MAX):
        read_function("It", by_value.PYTHON, "", code_of(adder(100 + step)))
    assert len(by_value._kept) == by_value.KEPT_FUNCTIONS_MAX
    assert read_function("It", by_value.PYTHON, "", body) is not first


def test_functions_that_are_kept_have_a_limited_number_of_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Older ones make room; one that is too large alone is not kept."""
    monkeypatch.setattr(by_value, "KEPT_BYTES_MAX", 3000)
    for step in range(by_value.KEPT_FUNCTIONS_MAX):
        read_function("It", by_value.PYTHON, "", code_of(adder(1 << step)))
    assert 0 < sum(map(len, by_value._kept)) <= 3000
    large = code_of(bytes(4000))
    read_function("It", by_value.PYTHON, "", large)
    assert large not in by_value._kept


def test_a_value_with_an_import_path_is_an_ordinary_pickle() -> None:
    """Another program reads it without cloudpickle."""
    assert dump([1, distq.Retry]) == pickle.dumps([1, distq.Retry], PROTOCOL)
    assert pickle.loads(dump(adder(2)))(2) == 4


def test_a_function_is_pickled_with_what_it_is_now() -> None:
    """The pickle of the wrapper names no class of this program."""
    body = pickle.dumps(FunctionByValue("It", code_of(adder(1))), PROTOCOL)
    assert pickle.loads(body)(1) == 2
    assert by_value.has_values(body)
    assert not by_value.has_values(pickle.dumps(((1,), {}), PROTOCOL))
