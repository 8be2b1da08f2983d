"""Tests that a client finds arguments that do not fit, and arguments that no worker can read."""

import functools
import inspect
import math
from typing import Any

import pytest

from distq.tasks.arguments import ANY, fit_of, main_class_in


def add(a: int, b: int, *, c: int = 0) -> int:
    """Take two arguments, or three by name."""
    return a + b + c


def needs_name(a: int, *, b: int) -> int:
    """Take one argument by position and one by name."""
    return a + b


def spread(a: int, *rest: int, **named: int) -> int:
    """Take at least one argument."""
    return a


def optional(a: int, b: int = 2, /) -> int:
    """Take one or two arguments."""
    return a + b


@functools.wraps(add)
def with_first(*args: Any) -> int:
    """Wrap a function with other parameters than its own."""
    return add(0, *args)


CALLS: list[tuple[tuple[int, ...], dict[str, int]]] = [
    ((), {}),
    ((1,), {}),
    ((1, 2), {}),
    ((1, 2, 3), {}),
    ((1,), {"b": 2}),
    ((1, 2), {"b": 2}),
    ((1, 2), {"c": 2}),
    ((1,), {"c": 2}),
    ((), {"a": 1, "b": 2}),
    ((1, 2), {"d": 2}),
]


@pytest.mark.parametrize("function", [add, needs_name, spread, optional, with_first, math.sqrt, int, print])
def test_a_fit_accepts_the_arguments_that_the_call_would_take(function: Any) -> None:
    """The quick check by number and the slow check by signature agree with Python."""
    fit = fit_of(function)
    for args, kwargs in CALLS:
        quickly = not kwargs and fit.arguments_min <= len(args) <= fit.arguments_max
        try:
            fit.check(args, kwargs)
            taken = True
        except TypeError:
            taken = False
        assert not quickly or taken
        if fit.signature is not None:
            try:
                inspect.signature(function, follow_wrapped=False).bind(*args, **kwargs)
            except TypeError:
                assert not taken
            else:
                assert taken


def test_a_function_with_an_uncertain_signature_fits_all_arguments() -> None:
    """A class may take any arguments, and a signature may be set by hand."""

    def other_signature() -> None: ...

    other_signature.__signature__ = inspect.signature(add)  # type: ignore[attr-defined]
    assert fit_of(int) is ANY
    assert fit_of(other_signature) is ANY
    assert fit_of(with_first).arguments_max == math.inf


def test_an_option_that_is_given_as_an_argument_is_pointed_out() -> None:
    """The error shows the call that the program needs."""
    with pytest.raises(TypeError, match=r"add\(\): got an unexpected .*client\.options\(retries=3\)\.submit\(\.\.\.\)"):
        fit_of(add).check((1, 2), {"retries": 3})
    with pytest.raises(TypeError, match=r"add\(\): missing a required argument: 'b'$"):
        fit_of(add).check((1,), {})


class Order:
    """A class that stands for one of the program itself."""


@pytest.mark.parametrize("nest", [lambda x: x, lambda x: [{"deep": (1, x)}], lambda x: {x: 1}, type])
def test_a_class_of_main_is_found_wherever_it_is(nest: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The class is found in containers, as a key, and as an argument; a text with the name is no class."""
    assert main_class_in(nest(Order())) is None
    monkeypatch.setattr(Order, "__module__", "__main__")
    monkeypatch.setattr("__main__.Order", Order, raising=False)
    assert main_class_in(nest(Order())) == "Order"
    assert main_class_in(["__main__", b"__main__"]) is None
