"""Tests of the pauses before retries."""

import hypothesis.strategies as st
import pytest
from hypothesis import given

from distq.core.retry import Backoff


@given(failures=st.integers(1, 10_000), jitter=st.floats(0, 1, exclude_max=True))
def test_a_retry_waits_twice_as_long_each_time_give_or_take_a_quarter_and_never_over_the_limit(
    failures: int, jitter: float
) -> None:
    """The delay is 1 s x 2^n, plus or minus 25 %, and at most ten minutes, for any number of failures."""
    delay_s = Backoff().delay_s(failures, lambda: jitter)
    middle_s = 2.0 ** min(failures - 1, 1000)
    assert min(0.75 * middle_s, 600) <= delay_s <= min(1.25 * middle_s, 600)


@pytest.mark.parametrize(
    ("failures", "jitter", "delay_s"), [(1, 0.0, 0.75), (1, 0.5, 1.0), (2, 0.5, 2.0), (3, 0.75, 4.5), (11, 0.5, 600.0)]
)
def test_the_default_backoff_has_these_delays(failures: int, jitter: float, delay_s: float) -> None:
    """The first delays have these values."""
    assert Backoff().delay_s(failures, lambda: jitter) == delay_s
