"""Tests of how `assert_submitted` compares the arguments of calls."""

import itertools
import math
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Any
from unittest.mock import ANY

import pytest

from distq import testing


@pytest.fixture(name="eager")
def running_eager() -> Iterator[testing.Eager]:
    """Yield the eager mode."""
    with testing.eager() as running:
        yield running


@dataclass
class Reading:
    """A value whose `==` compares what it has."""

    values: Any


class Plain:
    """A value without an `==` of its own."""

    def __init__(self, number: int) -> None:
        self.number = number

    def __repr__(self) -> str:
        return "Plain()"


class Unequal(Plain):
    """A value that is never equal, and that is pickled differently each time."""

    def __reduce__(self) -> tuple[Any, ...]:
        return Unequal, (next(numbers),)


numbers = itertools.count()


def measure(*_values: Any, **_named: Any) -> None:
    """Do nothing with the arguments."""


class Array(Plain):
    """Compares as an array of NumPy does: what `==` returns has no truth value."""

    def __eq__(self, other: object) -> Any:
        """Return an array of truth values."""
        return Array(1)

    def __hash__(self) -> int:
        """Return a hash, as each class with `==` does."""
        return self.number

    def __bool__(self) -> bool:
        """Fail as an array does."""
        raise ValueError("The truth value of an array with more than one element is ambiguous")


VALUES: list[tuple[Any, Any]] = [
    (math.nan, 1.0),
    (Decimal("NaN"), Decimal(1)),
    (Array(1), Array(2)),
    (Reading(Array(1)), Reading(Array(2))),
    (Plain(1), Plain(2)),
    ([1, {"a": (math.nan, "text")}], [1, {"a": (math.nan, "texts")}]),
]
"""Arguments that `==` does not find again, each with another one."""
if sys.version_info < (3, 15):  # as in pyproject.toml: there are no wheels of NumPy for 3.15 yet
    import numpy as np

    VALUES += [
        (np.arange(3), np.arange(4)),
        (np.array([math.nan]), np.array([1.0])),
        (np.array([]), np.array([1.0, 2.0])),
        (Reading(np.arange(3)), Reading(np.arange(4))),
    ]


@pytest.mark.parametrize(("value", "other"), VALUES)
def test_arguments_that_do_not_equal_their_copy_are_compared_by_value(
    eager: testing.Eager, value: Any, other: Any
) -> None:
    """A test finds NaN, arrays and plain objects as it finds numbers, next to `ANY` too."""
    eager.client.submit(measure, value, 7, named=value)
    eager.assert_submitted(measure, value, 7, named=value)
    eager.assert_submitted(measure, value, ANY, named=value)
    for wanted in ((other, 7), (value, 8), (value,)):
        with pytest.raises(testing.NotSubmitted):
            eager.assert_submitted(measure, *wanted, named=value)


def test_an_argument_that_cannot_be_compared_is_said_to_be_one(eager: testing.Eager) -> None:
    """The text does not say that a call was not submitted above the same call."""
    eager.client.submit(measure, Unequal(0))
    with pytest.raises(testing.NotSubmitted, match=r"they are not equal \(==\). Give unittest.mock.ANY"):
        eager.assert_submitted(measure, Unequal(0))
    eager.assert_submitted(measure, ANY)


def test_a_list_that_contains_itself_is_another_argument(eager: testing.Eager) -> None:
    """Its comparison has no end, and disturbs no other call."""
    endless: list[Any] = []
    endless.append(endless)
    eager.client.submit(measure, endless)
    eager.client.submit(measure, 1)
    eager.assert_submitted(measure, 1)
    with pytest.raises(testing.NotSubmitted):
        eager.assert_submitted(measure, endless)
