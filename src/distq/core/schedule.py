"""Schedules, each of which submits a task repeatedly: their fields, and their rows in the store."""

from __future__ import annotations

import json
from typing import Any, Final, NamedTuple

from distq.core.errors import DistqError
from distq.core.head import TASK_NAME_SHAPE
from distq.core.ranges import shown

SCHEDULES: Final = -(1 << 61)
"""Keys of stored schedules are below this number and above the keys of policies."""
NAME_BYTES_MAX: Final = 128
CRON_BYTES_MAX: Final = 512
"""Maximum bytes of a cron expression: enough for five fields that each list all their values."""
ZONE_BYTES_MAX: Final = 128
"""Maximum bytes of a time zone's name; the longest known name has 32."""
ONE, ALL, NONE = "one", "all", "none"
CATCH_UPS: Final = (ONE, ALL, NONE)
"""How many tasks the master submits for scheduled runs that it missed: one for all of them, one for each, or none."""


class BadSchedule(DistqError):
    """A client asked for a schedule that is not valid."""

    code = "BAD_SCHEDULE"
    exit_code = 2


class BadTiming(BadSchedule):
    """The interval, the cron expression or the time zone of a schedule is not valid."""


def check_new_name(name: str) -> None:
    """Check the name of a schedule that does not exist yet; raises BadSchedule.

    A schedule that an earlier release made may have another name: it can be put again and removed.
    """
    if not TASK_NAME_SHAPE.fullmatch(name):
        raise BadSchedule(
            f"a schedule's name has no line break or control character, and no space at an end; not {shown(name)}."
        )


class Timing(NamedTuple):
    """When the master submits a schedule's tasks."""

    every_s: float | None
    cron: str | None
    timezone: str
    overlap: bool
    """Whether the master submits a task although the previous one has not ended."""
    catch_up: str


class ScheduleSpec(NamedTuple):
    """The task that a schedule submits, and its timing."""

    name: str
    timing: Timing
    envelope: tuple[Any, ...]
    """The options of the task in the form that a client sends in `submit`."""
    when: tuple[float | None, float | None, float | None] | None
    constraints: tuple[Any, ...] | None


class ScheduleProgress(NamedTuple):
    """The progress of a schedule; instants are seconds of the master's clock."""

    next_at: float
    last_at: float | None = None
    """When the master last submitted a task of the schedule, None before the first."""
    last_key: int | None = None
    """The key of the task that the master submitted last, None before the first."""
    runs: int = 0
    skipped: int = 0
    """Number of scheduled runs without a task: the previous task had not ended, or `catch_up` skips missed runs."""
    paused: bool = False


class ScheduleOrigin(NamedTuple):
    """The code that declares a schedule in a task's decorator; a schedule from a client or a command has no origin."""

    modules: tuple[str, ...]
    """The task modules in the settings of the worker that declared the schedule."""
    started_at: float
    """When that worker was started; the master ignores declarations of workers that were started earlier."""


class StoredSchedule(NamedTuple):
    """The contents of a schedule's row."""

    spec: ScheduleSpec
    progress: ScheduleProgress
    origin: ScheduleOrigin | None = None
    key_name: str = ""
    """Name of the key that made or last changed the schedule; '' if that is DISTQ_AUTHKEY, or not known."""


def pack_schedule(
    spec: ScheduleSpec, progress: ScheduleProgress, origin: ScheduleOrigin | None = None, key_name: str = ""
) -> bytes:
    """The row of a schedule in the store; the row's body is the payload of its task.

    Without the name of a key, or an origin, the row has the form that older versions of distq wrote.
    """
    row = [spec, progress, origin, key_name] if key_name else [spec, progress, *((origin,) if origin else ())]
    return json.dumps(row, separators=(",", ":")).encode()


def unpack_schedule(row: bytes) -> StoredSchedule:
    """Read the row of a schedule."""
    (name, timing, envelope, when, constraints), progress, *rest = _tuples(json.loads(row))
    spec = ScheduleSpec(name, Timing(*timing), envelope, when, constraints)
    origin, key_name = rest[0] if rest else None, rest[1] if len(rest) > 1 else ""
    if not isinstance(key_name, str):
        raise TypeError(f"the name of its key is no text: {key_name!r}")
    return StoredSchedule(spec, ScheduleProgress(*progress), ScheduleOrigin(*origin) if origin else None, key_name)


def _tuples(value: Any) -> Any:
    """Turn JSON lists back into tuples, because the master compares envelopes and uses them as keys."""
    return tuple(map(_tuples, value)) if isinstance(value, list) else value
