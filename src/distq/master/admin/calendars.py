"""The next instant of a cron line, by the clocks of a time zone.

A cron line has five fields. `CronSim` finds the wall-clock times that match it; this module finds their instants:

- A cron line whose minute and hour both name values (`30 2 * * *`) is due once a day. In an hour that clocks show
  twice it is due the first time; if clocks skip its time, it is due when they have changed.
- A cron line whose minute or hour begins with `*` (`*/10 * * * *`) is due whenever a clock shows such a time: both
  times in an hour that clocks show twice, and never at a time that clocks skip.

UTC needs no time zone data. Any other zone is read from the machine's data, or else from the package `tzdata`.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, tzinfo
from functools import cache
from typing import Final
from zoneinfo import ZoneInfo, available_timezones

from cronsim import CronSim

from distq.core.nearest import nearest
from distq.core.ranges import shown, text
from distq.core.schedule import CRON_BYTES_MAX, ZONE_BYTES_MAX, BadTiming
from distq.master.admin.cron_faults import FIELDS, fault_of

_SECOND: Final = timedelta(seconds=1)
_NAMES_OF_UTC: Final = ("UTC", "Etc/UTC", "GMT", "Etc/GMT")
_WORDS_FOR_UTC: Final = frozenset({"z", "utc", "utc+0", "utc+00:00", "+00:00"})
_ABBREVIATION: Final = re.compile("[A-Z]{1,5}|[a-z]{1,4}|(?:UTC|GMT)?[+-].*")
"""An abbreviation, as PST and CEST, or an offset, as +02:00: a name that resembles it is another zone's."""
USE_A_PLACE: Final = "use a place, as in America/Los_Angeles"


def zone_of(name: object) -> tzinfo:
    """Return the time zone of that name, with the machine's present rules; raises BadTiming."""
    if name in _NAMES_OF_UTC:
        return UTC
    try:
        return ZoneInfo(text("timezone", name, ZONE_BYTES_MAX))
    except Exception as exc:  # the name and the data may be of any kind, and the exception depends on both
        raise BadTiming(f"there is no time zone {shown(name)} on the master's machine.") from exc


def check_zone(name: object) -> None:
    """Check that there is such a time zone; raises BadTiming, which says what to give instead."""
    try:
        zone_of(name)
    except BadTiming as exc:
        fact = f"timezone is not valid: {str(exc).removesuffix('.')}"
        raise BadTiming(f"{fact}{_advice(name)}") from exc


def _advice(name: object) -> str:
    """Return the end of the sentence about an unknown time zone: the nearest name of a zone or city, or an example."""
    if not isinstance(name, str) or len(name) > ZONE_BYTES_MAX:
        return f"; {USE_A_PLACE}."
    word = name.strip().lower().replace(" ", "_")
    near = "utc" if word in _WORDS_FOR_UTC else word if word in _zones_by_words() else None
    if near is None and not _ABBREVIATION.fullmatch(name.strip()):
        near = nearest(word, _zones_by_words())
    return f"; {USE_A_PLACE}." if near is None else f"; did you mean {_zones_by_words()[near]!r}?"


@cache
def _zones_by_words() -> dict[str, str]:
    """The names of zones, by themselves and by their last part, in small letters; the whole name takes precedence."""
    names = sorted(available_timezones())
    # Etc/GMT-5 is five hours ahead of UTC, which GMT-5 does not mean.
    by_city = {name.rpartition("/")[2].lower(): name for name in reversed(names) if not name.startswith("Etc/")}
    return {**by_city, **{name.lower(): name for name in names}, "utc": "UTC"}


def forget_zones() -> None:
    """Clear the cache of zones, so that updated rules are read at their next use."""
    ZoneInfo.clear_cache()


def check_line(line: object) -> str:
    """Check that a cron line is valid and has an instant, and return it; raises BadTiming."""
    try:
        known = text("cron", line, CRON_BYTES_MAX)
    except (TypeError, ValueError) as exc:
        raise BadTiming(f"{exc}.") from exc
    if len(known.split()) != len(FIELDS):
        raise BadTiming(f"{fault_of(known)}.")
    next_instant(known, UTC, datetime(2000, 1, 1, tzinfo=UTC).timestamp())
    return known


def next_instant(line: str, zone: tzinfo, after: float) -> float:
    """Return the first instant of a cron line after `after`, in seconds since 1970; raises BadTiming."""
    try:
        return _next_instant(line, zone, datetime.fromtimestamp(after, zone))
    except Exception as exc:  # no date matches, the parser's own error, or one from a line that it does not expect
        raise BadTiming(f"{fault_of(line)}.") from exc


def shows_twice(zone: tzinfo, at: float) -> bool:
    """Whether the zone's clocks show the wall-clock time of this instant twice."""
    return _is_twice(datetime.fromtimestamp(at, zone).replace(tzinfo=None, fold=0), zone)


def _next_instant(line: str, zone: tzinfo, after: datetime) -> float:
    wall = after.replace(tzinfo=None, fold=0, microsecond=0)
    often = any(field.startswith("*") for field in line.split()[:2])
    found = _first(line, zone, wall, after, often=often)
    if often and after.fold == 0 and _is_twice(wall, zone):
        # Before clocks go back: a match after that change can be earlier than the next match of the first pass.
        back = _change(_utc(wall, zone, 0), _utc(wall, zone, 1), zone)
        shown_then = back.astimezone(zone).replace(tzinfo=None, fold=0)
        second = next(CronSim(line, shown_then - _SECOND))
        found = min(found, _utc(second, zone, 1).timestamp())
    return found


def _first(line: str, zone: tzinfo, wall: datetime, after: datetime, *, often: bool) -> float:
    """Return the first instant after `after` among the matching wall-clock times after `wall`."""
    # A cron line of fixed time searched from within the second pass is due in that pass: the first pass is over.
    passes = (0, 1) if often or after.fold else (0,)
    after_utc = after.astimezone(UTC)
    for shown_at in CronSim(line, wall):
        if _is_shown(shown_at, zone):
            instants = [_utc(shown_at, zone, fold) for fold in passes]
        elif often:
            continue
        else:
            instants = [_change(_utc(shown_at, zone, 1), _utc(shown_at, zone, 0), zone)]
        later = [instant for instant in instants if instant > after_utc]
        if later:
            return min(later).timestamp()
    raise StopIteration


def _utc(wall: datetime, zone: tzinfo, fold: int) -> datetime:
    return wall.replace(tzinfo=zone, fold=fold).astimezone(UTC)


def _is_shown(wall: datetime, zone: tzinfo) -> bool:
    """Whether the zone's clocks show this time and do not skip it."""
    return _utc(wall, zone, 0).astimezone(zone).replace(tzinfo=None, fold=0) == wall


def _is_twice(wall: datetime, zone: tzinfo) -> bool:
    return _utc(wall, zone, 0) < _utc(wall, zone, 1)


def _change(before: datetime, after: datetime, zone: tzinfo) -> datetime:
    """Return the second at which a zone's clocks change: after `before`, and at the latest at `after`."""
    offset = before.astimezone(zone).utcoffset()
    while after - before > _SECOND:
        middle = before + timedelta(seconds=(after - before) // _SECOND // 2)
        if middle.astimezone(zone).utcoffset() == offset:
            before = middle
        else:
            after = middle
    return after
