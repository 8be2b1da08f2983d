"""Small parts of the core: backoff, deadlines, histogram, counters, registry."""

import hypothesis.strategies as st
import pytest
from hypothesis import given

from distq.core.counters import BUCKETS_S, Histogram, TaskCounters
from distq.core.deadlines import Deadlines
from distq.core.option_values import TASK
from distq.core.queue import RESULT, WORK
from distq.core.registry import Defaults, Registry
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


@given(instants=st.lists(st.integers(0, 20)), now=st.integers(0, 20))
def test_due_entries_come_oldest_first_and_equal_ones_in_insertion_order(instants: list[int], now: int) -> None:
    """Entries that are not due yet stay."""
    deadlines: Deadlines[int] = Deadlines()
    for number, at in enumerate(instants):
        deadlines.add(at, number)
    expected = sorted((at, number) for number, at in enumerate(instants) if at <= now)
    assert list(deadlines.due(now)) == expected
    assert len(deadlines) == len(instants) - len(expected)
    assert deadlines.next_at() == min((at for at in instants if at > now), default=None)


@given(durations=st.lists(st.floats(0, 1e5) | st.sampled_from(BUCKETS_S)))
def test_a_histogram_counts_each_duration_in_the_bucket_whose_bound_it_does_not_exceed(durations: list[float]) -> None:
    """A duration that equals the bound of a bucket counts in that bucket, as `le` of Prometheus requires."""
    histogram = Histogram()
    for seconds in durations:
        histogram.observe(seconds)
    assert sum(histogram.counts) == len(durations)
    assert histogram.sum_s == pytest.approx(sum(durations))
    for number, bound in enumerate(BUCKETS_S, 1):
        assert sum(histogram.counts[:number]) == sum(seconds <= bound for seconds in durations)


def test_an_open_table_counts_by_name() -> None:
    """A name has a count only after it was counted once."""
    counters = TaskCounters()
    counters.count(counters.late, "failure")
    counters.count(counters.late, "failure")
    assert counters.late == {"failure": 2}


def test_a_name_is_made_once_and_shared() -> None:
    """Tasks with the same options share one envelope, and tasks of one name and queue share counters."""
    registry = Registry(Defaults(capacity=7))
    envelope = registry.envelope("q", "f", TASK)
    assert registry.envelope("q", "f", TASK) is envelope
    other = registry.envelope("q", "f", TASK, priority=9)
    assert other is not envelope
    assert other.counters is envelope.counters is registry.counters_of("q", "f")
    assert other.queue is registry.queue("q")
    assert registry.queue("q").capacity == 7


def test_an_omitted_option_is_the_default_and_zero_is_not() -> None:
    """None means the default; 0 is a value and does not mean the default."""
    registry = Registry(Defaults(retries=3, max_deliveries=5, result_ttl_s=60.0, time_limit_s=9.0))
    default = registry.envelope("q", "f", TASK)
    assert (default.retries, default.max_deliveries, default.result_ttl_s, default.time_limit_s) == (3, 5, 60.0, 9.0)
    own = registry.envelope("q", "f", TASK, retries=0, max_deliveries=1, result_ttl_s=0.0, time_limit_s=1.0)
    assert (own.retries, own.max_deliveries, own.result_ttl_s, own.time_limit_s) == (0, 1, 0.0, 1.0)


def test_a_queue_keeps_its_role_until_it_is_given_another() -> None:
    """A queue is a work queue unless a caller gives another role."""
    registry = Registry(Defaults())
    assert registry.queue("q").role == WORK
    assert registry.queue("q", RESULT).role == RESULT
    assert registry.queue("q").role == RESULT
