"""Tests of a task's options: valid values, and errors where a program sets them."""

import enum
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest

import distq
from distq.tasks.function import Keys, spec_of, task
from distq.tasks.options import Options, checked, task_name


def test_durations_are_seconds_or_a_timedelta_and_an_instant_has_a_time_zone() -> None:
    """They are sent as numbers."""
    options = checked(Options(), {"delay": timedelta(minutes=1), "expires": 2.5, "time_limit": timedelta(seconds=3)})
    assert (options.delay, options.expires, options.time_limit) == (60.0, 2.5, 3.0)
    assert checked(Options(), {"eta": datetime(2024, 1, 1, tzinfo=UTC)}).eta == 1704067200.0


def test_an_option_that_is_not_given_stays_as_it_was() -> None:
    """None keeps the value of before."""
    before = checked(Options(), {"queue": "mail", "retries": 7})
    assert checked(before, {"retries": None, "priority": 9}) == before._replace(priority=9)


WRONG: list[tuple[str, Any, type[Exception], str]] = [
    ("eta", datetime(2030, 1, 1), TypeError, "add a time zone"),  # noqa: DTZ001 - the mistake
    ("eta", "tomorrow", TypeError, "with a time zone"),
    ("eta", True, TypeError, "with a time zone"),
    ("eta", datetime.max.replace(tzinfo=UTC), ValueError, "at most 366 days ahead"),
    ("eta", float("nan"), ValueError, "at most 366 days ahead"),
    ("eta", float("inf"), ValueError, "at most 366 days ahead"),
    ("eta", 10**400, ValueError, "a whole number of about 401 digits"),
    ("eta", 1.7e12, ValueError, "if these are milliseconds, divide them by 1,000"),
    ("delay", "soon", ValueError, "as in 30s or 1h30m; not 'soon'"),
    ("delay", None.__class__, TypeError, "is a duration"),
    ("delay", float("-inf"), ValueError, "from 0 s to 366 days"),
    ("delay", "-1s", ValueError, "as in 30s or 1h30m; not '-1s'"),
    ("delay", timedelta.max, ValueError, "from 0 s to 366 days"),
    ("delay", 1j, TypeError, "is a duration"),
    ("expires", timedelta(0), ValueError, "above 0 s"),
    ("expires", Decimal("sNaN"), ValueError, "above 0 s"),
    ("time_limit", 1e10, ValueError, "leave it out for no limit"),
    ("time_limit", True, TypeError, "is a duration"),
    ("time_limit", 10**5_000, ValueError, "about 5,00[01] digits"),
    ("result_ttl", -1, ValueError, "from 0 s"),
    ("every", "10ms", ValueError, "from 0.1 s"),
    ("full", -1, ValueError, "'block', 'raise' or a duration"),
    ("full", "rise", ValueError, "'block', 'raise' or a duration"),
    ("priority", 10, ValueError, "from 0 to 9"),
    ("priority", 5.0, TypeError, "from 0 to 9"),
    ("retries", -1, ValueError, "from 0 to 10,000"),
    ("retries", True, TypeError, "whole number"),
    ("max_deliveries", 0, ValueError, "from 1 to 10,000"),
    ("cost", 1_001, ValueError, "from 1 to 1,000"),
    ("concurrency", 10**7, ValueError, "from 1 to 1,000,000"),
    ("queue", "", ValueError, "text of 1 to 64 bytes"),
    ("queue", 7, TypeError, "text of 1 to 64 bytes"),
    ("queue", "\ud800", ValueError, "half of a surrogate pair"),
    ("unique_key", "k" * 65, ValueError, "or it is a function of the task's arguments"),
    ("cron", "* " * 300, ValueError, "1 to 512 bytes"),
    ("retry_for", "ValueError", TypeError, "exception classes"),
    ("headers", {"tenant": 7}, TypeError, "texts by their names"),
    ("headers", {"tenant": "x" * 1_024}, ValueError, "1,024 bytes in UTF-8 together"),
    ("headers", {"tenant": "\ud800"}, ValueError, "half of a surrogate pair"),
    ("headers", {"\ud800": ""}, ValueError, "half of a surrogate pair"),
    ("headers", 7, TypeError, "texts by their names.*not 7"),
    ("requires", "\ud800", ValueError, "as DISTQ_LABELS takes it"),
    ("requires", "big gpu", ValueError, "as DISTQ_LABELS takes it.*not 'big gpu'"),
    ("requires", ["gpu\n"], ValueError, "as DISTQ_LABELS takes it"),
    ("requires", ["gpu", "x" * 201], ValueError, "of 200 bytes together"),
    ("requires", [str(number) for number in range(17)], ValueError, "at most 16, of 200 bytes"),
    ("requires", {"gpu": 1}, TypeError, "label or several"),
    ("requires", (), ValueError, "label or several.*not \\(\\)"),
    ("executor", "gpu", ValueError, "process or thread, not 'gpu'"),
    ("executor", 7, TypeError, "process or thread, not 7"),
    ("on_conflict", "wait", ValueError, "reject, return or replace, not 'wait'"),
    ("catch_up", "two", ValueError, "one, all or none, not 'two'"),
    ("on_failure", "perhaps", ValueError, "fail, cancel or run, not 'perhaps'"),
    ("on_failure", None.__class__, TypeError, "fail, cancel or run, not"),
    ("requires", 7, TypeError, "label or several.*not 7"),
    ("requires", "gpu,eu", ValueError, "as DISTQ_LABELS takes it"),
    ("dealy", 5, TypeError, "there is no option 'dealy'; there is queue, priority"),
]


@pytest.mark.parametrize(("name", "value", "kind", "sentence"), WRONG, ids=[f"{row[0]}-{row[3]}" for row in WRONG])
def test_a_wrong_option_is_refused_with_what_it_should_be(
    name: str, value: Any, kind: type[Exception], sentence: str
) -> None:
    """At the decorator and at `client.options`: a wrong type by TypeError, a value out of range by ValueError."""
    with pytest.raises(kind, match=sentence):
        task(**{name: value})
    with pytest.raises(kind, match=sentence):
        checked(Options(), {name: value})


@pytest.mark.parametrize(
    ("name", "value", "taken"),
    [
        *(("delay", value, 0.0) for value in (0, -1, -0.3, timedelta(0), timedelta.min, "0", Fraction(0), Decimal(-1))),
        *(("delay", value, 1.5) for value in (1.5, "1500ms", timedelta(seconds=1.5), Decimal("1.5"), Fraction(3, 2))),
        ("eta", 0, 0.0),
        ("eta", -1e12, -1e12),
        ("eta", datetime.min.replace(tzinfo=UTC), -62135596800.0),
        ("time_limit", "1h30m", 5400.0),
        ("result_ttl", 0, 0.0),
        ("full", 0, 0.0),
        ("full", "2s", 2.0),
        ("every", "100ms", 0.1),
        ("retries", 10_000, 10_000),
    ],
    ids=repr,
)
def test_the_edges_of_a_range_belong_to_it(name: str, value: Any, taken: float) -> None:
    """An instant that has just passed is no mistake: the task runs at once. What travels is a plain number."""
    found = getattr(checked(Options(), {name: value}), name)
    assert (found, type(found)) == (taken, type(taken))


@pytest.mark.parametrize(
    "name", ["", " ", " f", "f\r\n", "f\ng", "f\x00", "f\x7f", "f\x85", "f\u2028g", "\ufefff", "f\u3000"]
)
def test_a_name_that_no_worker_can_have_is_refused_where_it_is_written(name: str) -> None:
    """A worker would try such a task again and again: blanks and line breaks at an end are the remains of a line."""
    with pytest.raises(ValueError, match=r"a task's name .* not"):
        task_name(name)
    if name:
        with pytest.raises(ValueError, match=r"a task's name .* not"):
            task(name=name)(lambda: None)


@pytest.mark.parametrize(
    "name", ["f", "mail:send", "a b", "Aufträge", "shop:Shop.<locals>.pay", "x" * 128, "\U0001f4e8"]
)
def test_every_other_name_is_accepted(name: str) -> None:
    """The name travels as it is."""
    assert task_name(name) == name


class FromAnotherLibrary(int):
    """A number of a library of arrays, as far as options see it."""


def test_numbers_of_other_libraries_travel_as_plain_numbers() -> None:
    """The master reads no classes."""
    assert type(checked(Options(), {"retries": FromAnotherLibrary(3)}).retries) is int
    assert type(checked(Options(), {"time_limit": FromAnotherLibrary(3)}).time_limit) is float


class Tenant(str, enum.Enum):  # noqa: UP042 - its `str()` is not its text, unlike that of a StrEnum
    """Texts of an application."""

    ACME = "acme"


def test_texts_of_an_enumeration_travel_as_plain_texts() -> None:
    """The master reads no classes; also keys that are made of a task's arguments."""
    given = {
        "queue": Tenant.ACME,
        "requires": (Tenant.ACME,),
        "headers": {Tenant.ACME: Tenant.ACME},
        "unique_key": Tenant.ACME,
    }
    options = checked(Options(), given)
    found = [options.queue, *(options.requires or ()), *(options.headers or ())[0], options.unique_key]
    keys = Keys(lambda: Tenant.ACME, 1, None, None, "reject").of((), {})
    assert [(one, type(one)) for one in (*found, keys[0])] == [("acme", str)] * 6


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
    """The error comes from the task's own call, so that the traceback shows it."""
    with pytest.raises(ValueError, match="a pause is a duration from 0 s"):
        distq.Snooze(pause)
    with pytest.raises(ValueError, match="a pause is a duration from 0 s"):
        distq.Retry(after=pause)


def test_a_pause_may_be_a_timedelta_and_is_nothing_else() -> None:
    """Seconds."""
    assert distq.Retry(after=timedelta(minutes=1)).after_s == 60.0
    assert distq.Retry().after_s is None
    assert distq.Snooze("1m30s").after_s == 90.0
    with pytest.raises(ValueError, match="seconds, a timedelta, or a text as in 30s"):
        distq.Snooze("soon")


def test_a_program_outside_a_task_has_no_current_task() -> None:
    """A function that is called directly does not run as a task."""
    with pytest.raises(distq.DistqError, match="No task runs here"):
        distq.current()
