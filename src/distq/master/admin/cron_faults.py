"""Says which part of a cron line is wrong, and what this part takes.

The parser names only the field. A part is what stands between two commas of a field; each part is parsed alone, with
`*` in the other fields.
"""

from __future__ import annotations

from datetime import datetime
from typing import Final, NamedTuple

from cronsim import CronSim

from distq.core.plurals import counted
from distq.core.ranges import shown


class _Field(NamedTuple):
    name: str
    takes: str


FIELDS: Final = (
    _Field("minute", "0-59"),
    _Field("hour", "0-23"),
    _Field("day of month", "1-31, or L for the last day"),
    _Field("month", "1-12 or JAN-DEC"),
    _Field("day of week", "0-7 (0 and 7 are Sunday) or SUN-SAT"),
)

SHORTHANDS: Final = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
"""Names that other programs take in place of a cron line, and the cron line that means the same."""

_ANY_TIME: Final = datetime(2000, 1, 1)  # noqa: DTZ001 - a wall-clock time, from which nothing is searched


def fault_of(line: str) -> str:
    """Return a sentence, without a full stop, about a cron line that cannot be parsed or that no date matches."""
    fields = line.split()
    if line.lstrip().startswith("@"):
        return _shorthand_fault(line.strip())
    if len(fields) != len(FIELDS):
        names = ", ".join(field.name for field in FIELDS)
        return (
            f"cron is {shown(line)}, which has {counted(len(fields), 'field')}; a cron line has {len(FIELDS)} "
            f"({names}), as in '0 9 * * MON-FRI'"
        )
    for number, field in enumerate(fields):
        for part in field.split(","):
            if not _is_valid(number, part):
                return _part_fault(number, part)
    return f"cron is {shown(line)}, and there is no such date: it would never run"


def _shorthand_fault(line: str) -> str:
    name = line.lower()
    if name in SHORTHANDS:
        return f"cron is {shown(line)}, which is not supported: give '{SHORTHANDS[name]}'"
    return f"cron is {shown(line)}, which is not supported: give five fields, as in '0 0 * * *'"


def _part_fault(number: int, part: str) -> str:
    field = FIELDS[number]
    start = f"cron has the {field.name} {shown(part)}"
    before, slash, _ = part.partition("/")
    if slash and _is_valid(number, before):
        return f"{start}: a step is a whole number from 1 on, as in */5"
    first, dash, last = part.partition("-")
    if dash and _is_valid(number, first) and _is_valid(number, last):
        return f"{start}: a range goes from the smaller number to the larger one"
    return f"{start}: it takes {field.takes}"


def _is_valid(number: int, part: str) -> bool:
    """Whether the parser accepts a part in a field while each other field is `*`."""
    fields = ["*"] * len(FIELDS)
    fields[number] = part
    try:
        CronSim(" ".join(fields), _ANY_TIME)
    except Exception:  # noqa: BLE001 - its own error, or one from a text that it does not expect
        return False
    return len(part.split()) == 1
