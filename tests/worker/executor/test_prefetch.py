"""Tests of the prefetch size: the number of tasks that an executor requests."""

from distq.worker.executor.prefetch import WANT_MAX, PrefetchSize


def prefetch_after(*runs_s: float) -> PrefetchSize:
    """Return a prefetch size after tasks of these run times, each leased as wanted."""
    prefetch = PrefetchSize()
    for run_s in runs_s:
        prefetch.task_ran(run_s)
        prefetch.leased(prefetch.want)
    return prefetch


def test_an_executor_first_requests_one_task() -> None:
    """The executor does not know yet how long tasks run."""
    assert PrefetchSize().want == 1


def test_short_tasks_are_requested_in_growing_numbers() -> None:
    """The size at most doubles, up to the limit."""
    assert prefetch_after(1e-6, 1e-6, 1e-6).want == 8
    assert prefetch_after(*[1e-6] * 20).want == WANT_MAX


def test_requests_fill_the_horizon() -> None:
    """The executor requests ten tasks of five milliseconds."""
    assert prefetch_after(*[0.005] * 20).want == 10


def test_one_long_task_lowers_the_prefetch_size_which_then_rises_slowly() -> None:
    """Few tasks must wait behind a long one among short ones."""
    prefetch = prefetch_after(*[1e-6] * 20, 1.0)
    assert prefetch.want == 1
    prefetch.task_ran(1e-6)
    prefetch.leased(1)
    assert prefetch.want == 1


def test_fewer_leased_tasks_than_wanted_do_not_raise_the_prefetch_size() -> None:
    """The queue had no more tasks, so a larger request would not help."""
    prefetch = PrefetchSize()
    prefetch.task_ran(1e-6)
    prefetch.leased(0)
    assert prefetch.want == 1
