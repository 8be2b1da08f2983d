"""A schedule: a task that is submitted again and again. What it is, and how the store keeps it."""

from __future__ import annotations

import json
from typing import Any, Final, NamedTuple

from distq.core.errors import DistqError

SCHEDULES: Final = -(1 << 61)
"""Keys of stored schedules lie below, down to those of policies."""
SCHEDULES_MAX: Final = 10_000
NAME_BYTES_MAX: Final = 128
CRON_BYTES_MAX: Final = 512
"""Limit of a cron line: five fields, of which each may list every value that it has."""
ZONE_BYTES_MAX: Final = 128
"""Limit of a time zone's name; the longest one known has 32 bytes."""
ONE, ALL, NONE = "one", "all", "none"
CATCH_UPS: Final = (ONE, ALL, NONE)
"""What is done about moments that were missed while no master ran: one task for all of them, one for each, none."""


class BadSchedule(DistqError):
    """A schedule cannot be as it was asked for."""

    code = "BAD_SCHEDULE"
    exit_code = 2


class BadTiming(BadSchedule):
    """What says when a schedule's tasks are submitted cannot be read."""

    hint = (
        "Give every= (seconds, or a text as in '30s'), or cron= (five fields, as in '*/5 * * * *') and with it "
        "timezone= (as in 'Europe/Rome')."
    )


class Timing(NamedTuple):
    """When a schedule's tasks are submitted."""

    every_s: float | None
    cron: str | None
    timezone: str
    overlap: bool
    """Whether one is submitted although the one before has not ended."""
    catch_up: str


class ScheduleSpec(NamedTuple):
    """What a schedule submits, and when."""

    name: str
    timing: Timing
    envelope: tuple[Any, ...]
    """As a client says it in `submit`."""
    when: tuple[float | None, float | None, float | None] | None
    constraints: tuple[Any, ...] | None


class ScheduleProgress(NamedTuple):
    """How far a schedule has come; moments are seconds of the master's clock."""

    next_at: float
    last_at: float | None = None
    """When a task was submitted last, and ..."""
    last_key: int | None = None
    """... which."""
    runs: int = 0
    skipped: int = 0
    """Moments at which none was submitted, because the one before had not ended, or nobody wanted what was missed."""
    paused: bool = False


class ScheduleOrigin(NamedTuple):
    """Which code has declared a schedule, at the decorator of its task; none of one that a client or a command made."""

    modules: tuple[str, ...]
    """The modules that the worker was started with."""
    started_at: float
    """When that worker was started: what a worker says that was started earlier does not count."""


class StoredSchedule(NamedTuple):
    """What the row of a schedule tells."""

    spec: ScheduleSpec
    progress: ScheduleProgress
    origin: ScheduleOrigin | None = None


def pack_schedule(spec: ScheduleSpec, progress: ScheduleProgress, origin: ScheduleOrigin | None = None) -> bytes:
    """A schedule's row in the store; its task's payload is the row's body."""
    row = [spec, progress] if origin is None else [spec, progress, origin]
    return json.dumps(row, separators=(",", ":")).encode()


def unpack_schedule(row: bytes) -> StoredSchedule:
    """The schedule of a row."""
    (name, timing, envelope, when, constraints), progress, *origin = _tuples(json.loads(row))
    spec = ScheduleSpec(name, Timing(*timing), envelope, when, constraints)
    return StoredSchedule(spec, ScheduleProgress(*progress), ScheduleOrigin(*origin[0]) if origin else None)


def _tuples(told: Any) -> Any:
    """Lists as the tuples that they were: envelopes are compared, and looked up."""
    return tuple(map(_tuples, told)) if isinstance(told, list) else told
