"""What a reader without a key sees of the answers to operators' calls: names and counts.

Fields are chosen by name, so that a field that a later version adds stays hidden. A cause, a worker's name and a key of
a task may contain what its arguments say.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

Row = dict[str, Any]

TASK_ROW: Final = frozenset({"id", "queue", "name", "state", "attempt", "submitted_at", "since", "progress"})
DEAD_ROW: Final = frozenset(
    {"id", "queue", "name", "kind", "failures", "lost", "deliveries", "submitted_at", "died_at", "error"}
)
TASK: Final = TASK_ROW | {
    *("kind", "priority", "leased_at", "due_at", "expires_at", "retries", "failures", "lost", "deliveries"),
    *("time_limit_s", "cost", "caused_at", "errors"),
}
SCHEDULE: Final = frozenset(
    {
        *("name", "task", "queue", "every_s", "cron", "timezone", "overlap", "catch_up", "paused", "origin"),
        *("next_at", "last_at", "last_id", "under_way", "runs", "skipped"),
    }
)
_CLASS: Final = re.compile(r"[A-Za-z_][\w.]{0,200}", re.ASCII)


def with_error(row: Mapping[str, Any]) -> Row:
    """Return a dead letter's row with the class of its last error."""
    causes = row["causes"]
    return {**row, "error": error_class(causes[-1]) if causes else None}


def error_class(cause: str) -> str:
    """Return the class with which a cause begins; `lost or timeout` if the cause is no exception."""
    name = cause.partition(":")[0]
    return name if _CLASS.fullmatch(name) else "lost or timeout"


def public_rows(rows: list[Row], fields: frozenset[str]) -> list[Row]:
    """Return rows with only these fields, and of progress only the number."""
    return [public(row, fields) for row in rows]


def public(row: Row, fields: frozenset[str]) -> Row:
    """Return one row in this way."""
    shown = {field: value for field, value in row.items() if field in fields}
    if shown.get("progress"):
        shown["progress"] = [shown["progress"][0], ""]
    return shown
