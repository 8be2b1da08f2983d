"""The fields that the tools return, with their descriptions; a test compares them with real results."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from distq.cli.json_fields import FIELDS, Fields


def _below(fields: Fields, before: str, after: str = "") -> dict[str, str]:
    """Return the fields whose paths begin with `before`, with `after` in its place."""
    return {after + path.removeprefix(before): text for path, text in fields.items() if path.startswith(before)}


_STATUS: Final = FIELDS["status"]
_QUEUE: Final = _below(_STATUS, "queues.queues[].", "queues[].")
_WORKER: Final = _below(_STATUS, "workers.workers[].", "workers[].")
_LIVE: Final = {
    "total": "Number of all of them.",
    "matched": "Number of those that match the filter.",
    "next": "The value of `offset` for the next page, or null after the last one.",
}
_NEXT: Final = "The value of `after` for the next page, or null after the last one."

RESULTS: Final[Mapping[str, Fields]] = MappingProxyType(
    {
        "status": {**_below(_STATUS, "overview.", "overview."), **_below(_STATUS, "workers.pools[].", "pools[].")},
        "list_queues": {
            **{path: text for path, text in _QUEUE.items() if path not in ("queues[].role", "queues[].results")},
            "queues[].submitted": "Tasks submitted since the master's start; null if not counted separately.",
            "queues[].completed": "Tasks ended since the master's start; null if not counted separately.",
            "queues[].submitted_per_s": "Tasks submitted in a second, measured for a second; or null.",
            "queues[].completed_per_s": "Tasks ended in a second, measured for a second; or null.",
            **_LIVE,
        },
        "list_workers": {
            **{
                f"workers[].{field}": _WORKER[f"workers[].{field}"]
                for field in (
                    *("name", "pool", "host", "slots", "busy", "draining", "memory_bytes", "version"),
                    *("unknown_names", "unknown_first", "seen_age_s"),
                )
            },
            **_LIVE,
        },
        "list_tasks": {**FIELDS["list"], "next": _NEXT},
        "list_dead_letters": {**FIELDS["dead list"], "next": _NEXT},
        "show_dead_letter": {
            **FIELDS["dead show"],
            "call": "With `payload`: the call as Python text; classes in it are shown by their names.",
        },
        "show_task": FIELDS["show"],
        "why": {field: FIELDS["show"][field] for field in ("id", "state", "why")},
    }
)
"""By tool and by the path of the field, as in `distq.cli.json_fields`; instants are seconds since 1970."""
