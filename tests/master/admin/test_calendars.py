"""The next instant of a cron line: through every change of clocks, compared with a search of each minute."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, tzinfo
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distq.core.schedule import BadSchedule, BadTiming
from distq.master.admin.calendars import check_line, check_zone, next_instant, zone_of

MINUTE = timedelta(minutes=1)
CHANGES = {
    "Europe/Rome": (datetime(2026, 3, 29, 1, tzinfo=UTC), datetime(2026, 10, 25, 1, tzinfo=UTC)),
    "America/New_York": (datetime(2026, 3, 8, 7, tzinfo=UTC), datetime(2026, 11, 1, 6, tzinfo=UTC)),
    "Australia/Lord_Howe": (datetime(2026, 10, 3, 15, 30, tzinfo=UTC), datetime(2026, 4, 4, 15, tzinfo=UTC)),
    "Asia/Kolkata": (datetime(2026, 3, 29, 1, tzinfo=UTC), datetime(2026, 10, 25, 1, tzinfo=UTC)),
    "Pacific/Apia": (datetime(2011, 12, 30, 10, tzinfo=UTC), datetime(2011, 4, 2, 14, tzinfo=UTC)),
}
"""Instants about which the clocks of a zone change, forwards and back; Kolkata's never do."""


def values(field: str, most: int) -> set[int]:
    """Return the values of a field, for the forms of field in the cron lines below."""
    if field.startswith("*"):
        return set(range(0, most + 1, int(field[2:] or "1") if len(field) > 1 else 1))
    return {int(one) for one in field.split(",")}


def minutes(zone: tzinfo, begin: datetime, end: datetime) -> Iterator[tuple[datetime, datetime]]:
    """Yield each minute of a zone: the instant, and the time that clocks show."""
    at = begin
    while at < end:
        yield at, at.astimezone(zone).replace(tzinfo=None, fold=0)
        at += MINUTE


def looked_up(minute: str, hour: str, zone: tzinfo, after: datetime, end: datetime) -> list[datetime]:
    """Return the instants of a cron line by a search of each minute: wall times that clocks show or skip."""
    often = minute.startswith("*") or hour.startswith("*")
    wanted = {(h, m) for h in values(hour, 23) for m in values(minute, 59)}
    found: list[datetime] = []
    seen: set[datetime] = set()
    last = None
    for at, wall in minutes(zone, after - timedelta(days=2), end):
        jumped: list[datetime] = []
        if last is not None and wall > last + MINUTE:
            jumped = [last + MINUTE * n for n in range(1, (wall - last) // MINUTE)]
        comes = (wall.hour, wall.minute) in wanted
        if not often:
            comes = (comes and wall not in seen) or any((one.hour, one.minute) in wanted for one in jumped)
        seen |= {wall, *jumped}
        last = wall
        if comes and at > after:
            found.append(at)
    return found


FIELDS_OF_MINUTES = st.sampled_from(["*", "*/7", "*/30", "0", "30", "15,45", "59"])
FIELDS_OF_HOURS = st.sampled_from(["*", "*/2", "0", "1", "2", "3", "1,2", "2,3", "23"])


@settings(max_examples=150, deadline=None)
@given(
    FIELDS_OF_MINUTES,
    FIELDS_OF_HOURS,
    st.sampled_from(sorted(CHANGES)),
    st.integers(0, 1),
    st.integers(-1_500, 90),
)
def test_the_next_instant_is_the_first_matching_minute(
    minute: str, hour: str, name: str, which: int, before: int
) -> None:
    """The test covers each change of clocks, in both directions, from an instant before its first pass."""
    zone = ZoneInfo(name)
    after = CHANGES[name][which] + timedelta(minutes=min(before, -120))
    end = CHANGES[name][which] + timedelta(days=1)
    wanted = looked_up(minute, hour, zone, after, end)
    found, at = [], after.timestamp()
    while (at := next_instant(f"{minute} {hour} * * *", zone, at)) < end.timestamp():
        found.append(datetime.fromtimestamp(at, UTC))
    assert found == wanted


@settings(max_examples=150, deadline=None)
@given(FIELDS_OF_MINUTES, FIELDS_OF_HOURS, st.sampled_from(sorted(CHANGES)), st.integers(-10_000, 10_000))
def test_the_next_instant_is_never_over(minute: str, hour: str, name: str, seconds: int) -> None:
    """A schedule put in the second pass of an hour is not due immediately, from any instant."""
    for change in CHANGES[name]:
        after = (change + timedelta(seconds=seconds)).timestamp()
        assert next_instant(f"{minute} {hour} * * *", ZoneInfo(name), after) > after


def test_the_clocks_of_lord_howe_go_back_by_half_an_hour_at_two() -> None:
    """On 5 April 2026 clocks show 1:30 to 2:00 twice, and 2:00 once."""
    zone = ZoneInfo("Australia/Lord_Howe")
    noon = datetime(2026, 4, 4, 12, tzinfo=zone).timestamp()
    assert next_instant("0 2 * * *", zone, noon) == datetime(2026, 4, 5, 2, tzinfo=zone).timestamp()
    assert next_instant("30 1 * * *", zone, noon) == datetime(2026, 4, 5, 1, 30, tzinfo=zone, fold=0).timestamp()


def test_a_search_from_the_second_pass_finds_an_instant_in_it() -> None:
    """The first pass was over before the search."""
    zone = ZoneInfo("Europe/Rome")
    now = datetime(2026, 10, 25, 2, 20, tzinfo=zone, fold=1).timestamp()
    assert next_instant("35 2 * * *", zone, now) == now + 15 * 60


@pytest.mark.parametrize("name", ["US/Eastern", "Europe/Kiev", "GB", "Asia/Calcutta", "UTC", "Etc/UTC"])
def test_old_names_of_time_zones_are_known(name: str) -> None:
    """Programs still have such names in settings; the package of zones has them if the machine does not."""
    assert zone_of(name).utcoffset(datetime(2026, 1, 1)) is not None  # noqa: DTZ001 - a wall-clock time


@pytest.mark.parametrize(
    "name", ["Mars/Olympus", "../etc/passwd", "/etc/localtime", "Europe", "", "\ud800", 7, "x" * 999]
)
def test_an_unknown_time_zone_is_refused_with_an_error(name: object) -> None:
    """The refusal does not depend on the machine's files."""
    with pytest.raises(BadSchedule, match="there is no time zone"):
        zone_of(name)


@pytest.mark.parametrize("name", ["Qqqq", "", 7, "x" * 999])
def test_a_time_zone_that_resembles_none_is_refused_without_another_name(name: object) -> None:
    """A name that is too long for a zone is not compared."""
    sentence = r"there is no time zone .* on the master's machine; use a place, as in America/Los_Angeles\.$"
    with pytest.raises(BadTiming, match=sentence):
        check_zone(name)


@pytest.mark.parametrize("name", ["PST", "CEST", "pst", "IST", "+02:00", "-0800", "UTC+2", "GMT-5"])
def test_an_abbreviation_or_an_offset_as_a_time_zone_leads_to_a_place(name: str) -> None:
    """The name that resembles it most is another zone's: PST resembles EST."""
    with pytest.raises(BadTiming, match=r"machine; use a place, as in America/Los_Angeles\.$"):
        check_zone(name)


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("Europe/Romme", "Europe/Rome"),
        ("rome", "Europe/Rome"),
        ("New York", "America/New_York"),
        ("europe/berlin", "Europe/Berlin"),
        ("Z", "UTC"),
        ("utc", "UTC"),
        ("Utc", "UTC"),
        ("gmt", "GMT"),
        ("est5edt", "EST5EDT"),
    ],
)
def test_the_nearest_time_zone_is_named(name: str, near: str) -> None:
    """Its city alone is enough."""
    with pytest.raises(
        BadTiming, match=f"there is no time zone '{name}' on the master's machine; did you mean '{near}'"
    ):
        check_zone(name)


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("0 5 1 * * 0", "which has 6 fields; a cron line has 5 .minute, hour, day of month, month, day of week."),
        ("* * * * * *", "which has 6 fields"),
        ("now", "cron is 'now', which has 1 field;"),
        ("@daily", r"cron is '@daily', which is not supported: give '0 0 \* \* \*'\."),
        ("@Weekly", r"cron is '@Weekly', which is not supported: give '0 0 \* \* 0'\."),
        ("@reboot", r"which is not supported: give five fields, as in '0 0 \* \* \*'\."),
        ("9" * 400 + " * * * *", "cron has the minute '99.*…: it takes 0-59"),
        ("9" * 5_000 + " * * * *", "1 to 512 bytes"),
        ("60 * * * *", r"^cron has the minute '60': it takes 0-59\.$"),
        ("5,61,7 * * * *", "cron has the minute '61': it takes 0-59"),
        ("0 24 * * *", "cron has the hour '24': it takes 0-23"),
        ("0 0 0 * *", "cron has the day of month '0': it takes 1-31"),
        ("0 0 1 13 *", "cron has the month '13': it takes 1-12"),
        ("0 0 * * 1-8", "cron has the day of week '1-8': it takes 0-7"),
        ("0 0 * * someday", "cron has the day of week 'someday': it takes 0-7"),
        ("0,,5 0 * * *", "cron has the minute '': it takes 0-59"),
        ("*/0 * * * *", "cron has the minute '[*]/0': a step is a whole number from 1 on"),
        ("9-5 * * * *", "cron has the minute '9-5': a range goes from the smaller number to the larger one"),
        ("0 0 31 2 *", r"cron is '0 0 31 2 \*', and there is no such date: it would never run"),
        ("0 0 30 2 *", "there is no such date"),
        ("0 0 * * L", "cron has the day of week 'L': it takes 0-7"),
        ("", "1 to 512 bytes"),
        (None, "is a text"),
    ],
)
def test_an_invalid_cron_line_is_refused_with_an_error(line: object, sentence: str) -> None:
    """A cron line has exactly five fields, and every number is in its range."""
    with pytest.raises(BadSchedule, match=sentence):
        check_line(line)


@pytest.mark.parametrize(
    ("line", "day"),
    [
        ("0 0 13 * 5", 2),  # a 13th or a Friday: 2 January 2026 is one
        ("0 0 */1 * 5", 2),  # one of the two begins with a star: both must match
        ("0 0 L * *", 31),
        ("0 0 LW * *", 30),
        ("0 0 * * 7", 4),
        ("0 0 * * MON#2", 12),
        ("0 0 * * 5L", 30),
        ("0 0 1/10 2 *", 32),
    ],
)
def test_a_cron_line_is_read_as_the_docs_describe(line: str, day: int) -> None:
    """The days are counted from the end of December 2025."""
    found = next_instant(check_line(line), UTC, datetime(2026, 1, 1, 12, tzinfo=UTC).timestamp())
    assert found == (datetime(2025, 12, 31, tzinfo=UTC) + timedelta(days=day)).timestamp()
