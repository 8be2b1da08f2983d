"""What of a schedule is due, and when it comes next."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from distq.core.schedule import ALL
from distq.master.admin.calendars import next_instant, shows_twice, zone_of

if TYPE_CHECKING:
    from distq.core.schedule import Timing

MISSED_MAX: Final = 1_000
"""The most missed instants of a cron line that are counted at once; further ones are left out of the count."""


def next_instant_after(timing: Timing, after: float) -> float:
    """The first instant of a schedule after this one; cron's by the clocks of its time zone. Raises BadSchedule."""
    if timing.every_s is not None:
        return after + timing.every_s
    return next_instant(timing.cron or "", zone_of(timing.timezone), after)


def planned(timing: Timing, next_at: float, now: float) -> float:
    """When a schedule comes next that was to come at `next_at`, by the clocks and rules of now; raises BadSchedule.

    A cron line's instant is worked out anew: the rules of its zone may have changed, or the machine's clock was set.
    In an hour that clocks show twice it stays as it is: what came in the first pass does not come again.
    """
    if next_at <= now:
        next_instant_after(timing, now)  # it is due; and it must go on after that
        return next_at
    if timing.every_s is not None:
        return min(next_at, now + timing.every_s)
    zone = zone_of(timing.timezone)
    return next_at if shows_twice(zone, now) else next_instant(timing.cron or "", zone, now)


class DueInstants(NamedTuple):
    """What of a schedule is due at a moment."""

    newest: float
    """The last of its moments that has come, or the only one that is made up for now."""
    missed: int
    """How many came before that one and are not made up for."""
    next_at: float


def due_at(timing: Timing, at: float, now: float) -> DueInstants:
    """What is due at `now` of a schedule whose next moment was `at`."""
    if timing.catch_up == ALL:
        return DueInstants(at, 0, next_instant_after(timing, at))
    if timing.every_s is not None:
        missed = int((now - at) // timing.every_s)
        newest = at + missed * timing.every_s
        return DueInstants(newest, missed, newest + timing.every_s)
    missed, next_at = 0, next_instant_after(timing, at)
    while next_at <= now:
        missed += 1
        if missed >= MISSED_MAX:
            return DueInstants(now, missed, next_instant_after(timing, now))
        at, next_at = next_at, next_instant_after(timing, next_at)
    return DueInstants(at, missed, next_at)


def next_after(timing: Timing, moment: float, now: float) -> float:
    """The first moment of a schedule, one of which is `moment`, that is after `now`."""
    if timing.every_s is not None and moment <= now:
        return moment + ((now - moment) // timing.every_s + 1) * timing.every_s
    return moment if moment > now else next_instant_after(timing, now)
