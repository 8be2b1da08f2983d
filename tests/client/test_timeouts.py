"""Tests that a timeout may be seconds or a timedelta in every call."""

import math
from datetime import timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from tests.client.functions import double
from tests.client.masters import MasterState, client_of, never, serving
from tests.waiting import SOON_S

from distq.client.future import TaskFuture
from distq.client.timeouts import timeout_s

SOON = timedelta(seconds=SOON_S)
NOW = timedelta(0)


@pytest.mark.parametrize(
    ("timeout", "expected_s"),
    [
        (None, None),
        (3, 3.0),
        (0.5, 0.5),
        (Fraction(1, 2), 0.5),
        (Decimal("0.5"), 0.5),
        (10**400, None),
        (-(10**400), -math.inf),
        (timedelta(minutes=2), 120.0),
        (timedelta(seconds=-1), -1.0),
        (math.inf, None),
        (timedelta.max, None),
    ],
)
def test_a_timeout_is_read_as_seconds(timeout: Any, expected_s: float | None) -> None:
    """A timeout beyond the system's longest wait means no limit."""
    assert timeout_s(timeout) == expected_s


@pytest.mark.parametrize(
    ("timeout", "error"), [("5", TypeError), (True, TypeError), (1j, TypeError), (math.nan, ValueError)]
)
def test_a_wrong_timeout_is_refused_with_the_value(timeout: Any, error: type[Exception]) -> None:
    """A wrong type raises TypeError, and NaN raises ValueError."""
    with pytest.raises(error, match=f"a timeout is a number of seconds, a timedelta.*not {timeout!r}"):
        timeout_s(timeout)
    with pytest.raises(error, match="a timeout is"):
        TaskFuture[Any]().result(timeout)


def test_every_waiting_call_accepts_a_timedelta() -> None:
    """`result`, `exception`, `map`, `flush` and `client.result`, with time left."""
    with serving(MasterState()) as master, client_of(master) as client:
        future = client.submit(double, 2)
        assert future.result(SOON) == 4
        assert future.exception(SOON) is None
        assert list(client.map(double, [1, 2], timeout=SOON)) == [2, 4]
        assert client.flush(SOON)


def test_every_waiting_call_ends_after_its_timedelta() -> None:
    """With no time left, each raises TimeoutError, and `flush` returns False."""
    state = MasterState(never)
    with serving(state) as master, client_of(master) as client:
        future = client.submit(double, 2)
        for wait in (future.result, future.exception):
            with pytest.raises(TimeoutError):
                wait(NOW)
        with pytest.raises(TimeoutError):
            list(client.map(double, [1, 2], timeout=NOW))
        assert client.flush(SOON)
        state.gate.clear()
        client.submit(double, 3)
        assert not client.flush(timedelta(milliseconds=1))
