"""The autoscaler's number: never below what runs, never stuck at zero, enough to be done in time."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distq.core.queue import RESULT, Queue
from distq.core.task import LEASED, READY
from distq.web.autoscale import autoscale, desired_slots


@pytest.mark.parametrize(
    ("running", "ready", "mean_run_s", "slots"),
    [
        (0, 0, 1.0, 0),
        (3, 0, 1.0, 3),
        (0, 1, 0.001, 1),
        (0, 600, 1.0, 10),
        (0, 601, 1.0, 11),
        (2, 600, 1.0, 12),
        (0, 5, 3600.0, 5),
        (4, 2, 3600.0, 6),
        (1, 10, 0.0, 2),
    ],
)
def test_slots_that_are_wanted(running: int, ready: int, mean_run_s: float, slots: int) -> None:
    """One minute to drain: 600 tasks of a second want ten slots; long tasks want one each."""
    assert desired_slots(running, ready, ready * mean_run_s, 60.0) == slots


@given(st.integers(0, 10**6), st.integers(0, 10**7), st.floats(0, 10**6), st.floats(0.1, 10**6), st.integers(0, 1000))
def test_the_number_is_bounded_and_grows(running: int, ready: int, mean: float, drain: float, more: int) -> None:
    """Between what runs and one slot for each task; more work never wants fewer slots."""
    slots = desired_slots(running, ready, ready * mean, drain)
    assert running <= slots <= running + ready
    assert slots > running or ready == 0
    assert desired_slots(running, ready + more, (ready + more) * mean, drain) >= slots


def queue(name: str, ready: int = 0, leased: int = 0, mean_run_s: float | None = None) -> Queue:
    """A queue that says it has so many tasks."""
    made = Queue(name, 10**6)
    made.counts[READY], made.counts[LEASED], made.mean_run_s = ready, leased, mean_run_s
    return made


def test_named_queues_count_together() -> None:
    """Each with its own mean; one that does not exist yet has nothing to do."""
    queues = [queue("a", 60, 1, 2.0), queue("b", 120), queue("c", 10**5)]
    assert autoscale(queues, ["a", "b", "none"], 60.0) == {
        "desired_slots": 1 + 4,
        "running": 1,
        "ready": 180,
        "ready_work_s": 240.0,
        "target_drain_s": 60.0,
        "queues": ["a", "b", "none"],
    }


def test_without_names_all_work_queues_count() -> None:
    """Results that wait to be fetched want no slot."""
    results = queue("result", 1000)
    results.role = RESULT
    answer = autoscale([queue("work", 60), results], [], 60.0)
    assert (answer["desired_slots"], answer["queues"]) == (1, ["work"])
