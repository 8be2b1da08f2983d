"""Tests of the counters and histograms of tasks."""

import hypothesis.strategies as st
import pytest
from hypothesis import given

from distq.core.counters import BUCKETS_S, Histogram, TaskCounters


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
