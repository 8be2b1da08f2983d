"""A task's options: what is taken, and what is refused where it is given."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

import distq
from distq.tasks.function import spec_of, task
from distq.tasks.options import Options, checked


def test_durations_are_seconds_or_a_timedelta_and_a_moment_has_a_time_zone() -> None:
    """They travel as numbers."""
    options = checked(Options(), {"delay": timedelta(minutes=1), "expires": 2.5, "time_limit": timedelta(seconds=3)})
    assert (options.delay, options.expires, options.time_limit) == (60.0, 2.5, 3.0)
    assert checked(Options(), {"eta": datetime(2030, 1, 1, tzinfo=UTC)}).eta == 1893456000.0


def test_what_is_not_given_stays_as_it_was() -> None:
    """None means: as before."""
    before = checked(Options(), {"queue": "mail", "retries": 7})
    assert checked(before, {"retries": None, "priority": 9}) == before._replace(priority=9)


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("eta", datetime(2030, 1, 1), "with a time zone"),  # noqa: DTZ001 - the mistake
        ("eta", "tomorrow", "with a time zone"),
        ("delay", 0, "above 0"),
        ("delay", "5s", "number of seconds"),
        ("expires", timedelta(0), "above 0"),
        ("priority", 10, "0 to 9"),
        ("retries", -1, "whole number"),
        ("queue", "", "is a name"),
        ("retry_for", "ValueError", "exception classes"),
        ("headers", {"tenant": 7}, "texts by their names"),
        ("headers", {"tenant": "x" * 1_024}, "1,024 bytes together"),
        ("dealy", 5, "there is no option 'dealy'; there is queue, priority"),
    ],
)
def test_a_wrong_option_is_refused_with_what_it_should_be(name: str, value: Any, sentence: str) -> None:
    """At the decorator and at `client.options`."""
    with pytest.raises(TypeError, match=sentence):
        task(**{name: value})
    with pytest.raises(TypeError, match=sentence):
        checked(Options(), {name: value})


def test_a_task_without_times_says_nothing_of_them() -> None:
    """What it says is what `submit` sends."""

    @task(name="plain one", queue="mail")
    def plain() -> None:
        """Do nothing."""

    @task(name="late one", delay=5, expires=timedelta(hours=1))
    def late() -> None:
        """Do nothing later."""

    assert spec_of(plain).when is None
    assert spec_of(late).when == (5, None, 3600.0)


@pytest.mark.parametrize("pause", [-1, float("nan"), float("inf")])
def test_a_pause_is_never_negative_or_endless(pause: float) -> None:
    """It is refused where the task asks for it, so that the task fails with its line."""
    with pytest.raises(ValueError, match="a pause is 0 s or longer"):
        distq.Snooze(pause)
    with pytest.raises(ValueError, match="a pause is 0 s or longer"):
        distq.Retry(after=pause)


def test_a_pause_may_be_a_timedelta_and_is_nothing_else() -> None:
    """Seconds."""
    assert distq.Retry(after=timedelta(minutes=1)).after_s == 60.0
    assert distq.Retry().after_s is None
    with pytest.raises(TypeError, match="number of seconds or a timedelta"):
        distq.Snooze("soon")  # type: ignore[arg-type] # the mistake


def test_outside_a_task_there_is_no_current_one() -> None:
    """A function that is called directly is no task."""
    with pytest.raises(distq.DistqError, match="No task runs here"):
        distq.current()
