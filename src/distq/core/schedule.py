"""A schedule: a task that is submitted again and again. What it is, and how the store keeps it."""

from __future__ import annotations

import json
from typing import Any, Final, NamedTuple

from distq.core.errors import DistqError

SCHEDULES: Final = -(1 << 61)
"""Keys of stored schedules lie below, down to those of policies."""
SCHEDULES_MAX: Final = 10_000
NAME_BYTES_MAX: Final = 128
EVERY_MIN_S: Final = 0.1
ONE, ALL, NONE = "one", "all", "none"
CATCH_UPS: Final = (ONE, ALL, NONE)
"""What is done about moments that were missed while no master ran: one task for all of them, one for each, none."""


class BadSchedule(DistqError):
    """A schedule cannot be as it was asked for."""

    code = "BAD_SCHEDULE"
    hint = "Give every= (seconds) or cron= (five fields, as in '*/5 * * * *'), and with cron a timezone='Europe/Rome'."
    exit_code = 2


class Timing(NamedTuple):
    """When a schedule's tasks are submitted."""

    every_s: float | None
    cron: str | None
    timezone: str
    overlap: bool
    """Whether one is submitted although the one before has not ended."""
    catch_up: str


class Spec(NamedTuple):
    """What a schedule submits, and when."""

    name: str
    timing: Timing
    envelope: tuple[Any, ...]
    """As a client says it in `submit`."""
    when: tuple[float | None, float | None, float | None] | None
    more: tuple[Any, ...] | None


class Progress(NamedTuple):
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


def pack_schedule(spec: Spec, progress: Progress) -> bytes:
    """A schedule's row in the store; its task's payload is the row's body."""
    return json.dumps([spec, progress], separators=(",", ":")).encode()


def unpack_schedule(row: bytes) -> tuple[Spec, Progress]:
    """The schedule of a row."""
    (name, timing, envelope, when, more), progress = _tuples(json.loads(row))
    return Spec(name, Timing(*timing), envelope, when, more), Progress(*progress)


def _tuples(told: Any) -> Any:
    """Lists as the tuples that they were: envelopes are compared, and looked up."""
    return tuple(map(_tuples, told)) if isinstance(told, list) else told
