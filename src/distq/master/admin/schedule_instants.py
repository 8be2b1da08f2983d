"""Computes which instants of a schedule are due, and its next instant."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from distq.core.schedule import ALL
from distq.master.admin.calendars import next_instant, shows_twice, zone_of

if TYPE_CHECKING:
    from distq.core.schedule import Timing

MISSED_MAX: Final = 1_000
"""Maximum missed instants of a cron line that one computation counts, to limit its time; it omits further ones."""


def next_instant_after(timing: Timing, after: float) -> float:
    """Return a schedule's first instant after `after`; a cron line uses the clocks of its zone. Raises BadSchedule."""
    if timing.every_s is not None:
        return after + timing.every_s
    return next_instant(timing.cron or "", zone_of(timing.timezone), after)


def planned(timing: Timing, next_at: float, now: float) -> float:
    """Return the next instant of a schedule, planned for `next_at`, by the present clock and rules; raises BadSchedule.

    A cron line's instant is computed anew: the rules of its zone may have changed, or the machine's clock was set. In
    an hour that clocks show twice it stays as it is, so that a scheduled run of the first pass does not run again.
    """
    if next_at <= now:
        next_instant_after(timing, now)  # it is due, and must have a later instant
        return next_at
    if timing.every_s is not None:
        return min(next_at, now + timing.every_s)
    zone = zone_of(timing.timezone)
    return next_at if shows_twice(zone, now) else next_instant(timing.cron or "", zone, now)


class DueInstants(NamedTuple):
    """The due instants of a schedule."""

    newest: float
    """The newest due instant, or the oldest one if the schedule makes up for all of them one by one."""
    missed: int
    """Number of earlier instants for which the schedule does not make up."""
    next_at: float


def due_at(timing: Timing, at: float, now: float) -> DueInstants:
    """Return the instants due at `now` of a schedule whose next instant was `at`."""
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


def next_after(timing: Timing, instant_at: float, now: float) -> float:
    """Return a schedule's first instant after `now`; the parameter is one of its instants."""
    if timing.every_s is not None and instant_at <= now:
        return instant_at + ((now - instant_at) // timing.every_s + 1) * timing.every_s
    return instant_at if instant_at > now else next_instant_after(timing, now)
