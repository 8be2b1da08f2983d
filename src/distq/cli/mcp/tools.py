"""The tools of `distq mcp`: what each takes and returns, and the requests to the master behind it."""

import time
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from distq.cli.list import STATES
from distq.cli.mcp.bounds import TRACEBACK_CHARS_MAX, bounded, cut, cut_traceback, page
from distq.cli.mcp.fields import RESULTS
from distq.cli.mcp.reader import ClusterReader
from distq.core.ranges import DURATION_MAX_S

Arguments = Mapping[str, Any]
Schema = dict[str, Any]

ROWS_MAX: Final = 100
ROWS: Final = 20
"""Maximum rows of a page, and the rows of one without `limit`."""
OFFSET_MAX: Final = 10_000
"""Maximum rows before a page of queues or workers; the master has at most as many queues."""
RATES_S: Final = 1.0
"""Seconds over which the rates of queues are measured."""


class Tool(NamedTuple):
    """One tool; `run` receives arguments that match the schemas of `takes`, and returns an object of JSON."""

    name: str
    title: str
    description: str
    takes: Mapping[str, Schema]
    needs: tuple[str, ...]
    run: Callable[[ClusterReader, Arguments], dict[str, Any]]

    @property
    def input_schema(self) -> Schema:
        """The JSON schema of the arguments; an unknown argument is an error, because it may be a mistyped filter."""
        return {
            "type": "object",
            "properties": dict(self.takes),
            "required": list(self.needs),
            "additionalProperties": False,
        }

    @property
    def output_schema(self) -> Schema:
        """The JSON schema of the result: each field with its description."""
        schema: Schema = {"type": "object", "properties": {}}
        for path, description in RESULTS[self.name].items():
            place = schema
            *parents, last = path.split(".")
            for parent in parents:
                field = parent.removesuffix("[]")
                below = place["properties"].setdefault(field, {})
                if parent.endswith("[]"):
                    below.setdefault("type", "array")
                    below = below.setdefault("items", {})
                below.setdefault("type", "object")
                below.setdefault("properties", {})
                place = below
            place["properties"].setdefault(last, {})["description"] = description
        return schema


def _text(description: str) -> Schema:
    return {"type": "string", "minLength": 1, "maxLength": 200, "description": description}


def _number(description: str, least: int, most: float, **more: Any) -> Schema:
    return {"type": "integer", "minimum": least, "maximum": int(most), "description": description, **more}


_ID: Final = _text("Id of the task, such as 1-2a.")
_LIMIT: Final = _number(f"Maximum rows; a page may have fewer. Default: {ROWS}.", 1, ROWS_MAX)
_AFTER: Final = _text("The value of `next` of the previous page; without it, the first page.")
_OFFSET: Final = _number("The value of `next` of the previous page. Default: 0.", 0, OFFSET_MAX)
_INSTANT: Final = {"type": "number", "minimum": 0, "maximum": 1e11}


def _status(reader: ClusterReader, _arguments: Arguments) -> dict[str, Any]:
    pools = reader.stats("workers")["pools"]
    return {"overview": bounded(reader.stats("overview")), "pools": bounded(pools[:ROWS_MAX])}


def _live(reader: ClusterReader, view: str, arguments: Arguments) -> dict[str, Any]:
    asked = {"offset": arguments.get("offset", 0), "limit": arguments.get("limit", ROWS)}
    found: dict[str, Any] = reader.ask("live", view=view, sort="name", filter=arguments.get("filter"), **asked)
    return found


def _live_page(what: str, found: dict[str, Any], rows: list[dict[str, Any]], arguments: Arguments) -> dict[str, Any]:
    offset = arguments.get("offset", 0)
    end = offset + len(rows)
    following = end if rows and end < min(found["matched"], OFFSET_MAX) else None
    kept, following = page(rows, following, lambda count: offset + count)
    return {"total": found["total"], "matched": found["matched"], what: kept, "next": following}


def _list_queues(reader: ClusterReader, arguments: Arguments) -> dict[str, Any]:
    first = _live(reader, "queues", arguments)
    time.sleep(RATES_S)
    found = _live(reader, "queues", arguments)
    before = {row["name"]: row for row in first["rows"]}
    passed_s = found["at"] - first["at"]
    rows = [{**row, **_rates(before.get(row["name"], {}), row, passed_s)} for row in found["rows"]]
    return _live_page("queues", found, rows, arguments)


def _rates(before: dict[str, Any], now: dict[str, Any], passed_s: float) -> dict[str, float | None]:
    """Return how many tasks a queue took and completed in a second; None if its tasks are not counted separately."""

    def rate(field: str) -> float | None:
        first, last = before.get(field), now[field]
        if first is None or last is None or passed_s <= 0 or last < first:
            return None
        return round(float(last - first) / passed_s, 3)

    return {"submitted_per_s": rate("submitted"), "completed_per_s": rate("completed")}


def _list_workers(reader: ClusterReader, arguments: Arguments) -> dict[str, Any]:
    found = _live(reader, "workers", arguments)
    return _live_page("workers", found, found["rows"], arguments)


def _list_tasks(reader: ClusterReader, arguments: Arguments) -> dict[str, Any]:
    older_s = arguments.get("older_s")
    before_at = None if older_s is None else time.time() - older_s  # noqa: TID251 - as `distq list --older`
    asked = {field: arguments.get(field) for field in ("queue", "name", "after")}
    states, limit = arguments.get("states", []), arguments.get("limit", ROWS)
    found = reader.ask("list", **asked, states=states, limit=limit, before_at=before_at)
    rows, following = page(found["tasks"], found["next"], lambda count: found["tasks"][count - 1]["id"])
    return {"tasks": rows, "next": following}


def _list_dead_letters(reader: ClusterReader, arguments: Arguments) -> dict[str, Any]:
    asked = {field: arguments.get(field) for field in ("queue", "name", "error", "since", "until", "after")}
    found = reader.ask("dead_list", **asked, limit=arguments.get("limit", ROWS))
    tasks = found["tasks"]
    rows, following = page(tasks, found.get("next"), lambda count: tasks[count - 1]["id"])
    return {"total": found["total"], "tasks": rows, "next": following}


def _show_dead_letter(reader: ClusterReader, arguments: Arguments) -> dict[str, Any]:
    from distq.tasks.payload_text import describe, failure_of

    row = reader.ask("dead_show", id=arguments["id"])
    payload, error = row.pop("payload"), row.pop("error")
    kind, text, traceback = failure_of(error)
    shown = bounded(row) | {"payload_bytes": len(payload), "error": cut(kind), "error_text": cut(text)}
    if arguments.get("payload"):
        shown["call"] = cut(describe(payload, row["name"], plain=row["kind"] == "plain"), TRACEBACK_CHARS_MAX)
    return {**shown, "traceback": cut_traceback(traceback)}


def _show_task(reader: ClusterReader, arguments: Arguments) -> dict[str, Any]:
    return dict(bounded(reader.ask("show", id=arguments["id"])))


def _why(reader: ClusterReader, arguments: Arguments) -> dict[str, Any]:
    task = reader.ask("show", id=arguments["id"])
    return {field: bounded(task[field]) for field in ("id", "state", "why")}


_LISTED: Final = (
    Tool(
        "status",
        "State of the master",
        "Whether the master accepts tasks, its numbers of tasks by state, workers and slots, and the pools of workers.",
        {},
        (),
        _status,
    ),
    Tool(
        "list_queues",
        "Queues",
        "Queues by name: tasks by state, rates of submits and completions (measured for a second), limits and pauses.",
        {"filter": _text("Only queues whose name contains this text."), "offset": _OFFSET, "limit": _LIMIT},
        (),
        _list_queues,
    ),
    Tool(
        "list_workers",
        "Workers",
        "Connected workers by name: pool, host, slots, memory, and the task names for which they have no function.",
        {
            "filter": _text("Only workers whose name, pool or host contains this text."),
            "offset": _OFFSET,
            "limit": _LIMIT,
        },
        (),
        _list_workers,
    ),
    Tool(
        "list_tasks",
        "Tasks",
        "Tasks, the oldest first: waiting and running ones, or those in the given states.",
        {
            "queue": _text("Only tasks of this queue."),
            "name": _text("Only tasks of this name, such as shop.tasks:send."),
            "states": {
                "type": "array",
                "items": {"type": "string", "enum": list(STATES)},
                "maxItems": len(STATES),
                "description": "Only tasks in one of these states. Default: waiting and running.",
            },
            "older_s": _number("Only tasks submitted longer ago than this, in seconds.", 0, DURATION_MAX_S),
            "after": _AFTER,
            "limit": _LIMIT,
        },
        (),
        _list_tasks,
    ),
    Tool(
        "list_dead_letters",
        "Dead letters",
        "Tasks that failed and are not retried, the newest first, with the causes of their last attempts.",
        {
            "queue": _text("Only dead letters of this queue."),
            "name": _text("Only dead letters of this task name."),
            "error": _text("Only dead letters whose last error has this class, such as KeyError; or lost, or timeout."),
            "since": {**_INSTANT, "description": "Only tasks that died at this instant (seconds since 1970) or later."},
            "until": {**_INSTANT, "description": "Only tasks that died before this instant (seconds since 1970)."},
            "after": _AFTER,
            "limit": _LIMIT,
        },
        (),
        _list_dead_letters,
    ),
    Tool(
        "show_dead_letter",
        "One dead letter",
        "A dead letter: its error, traceback and the causes of its last attempts; its arguments only on request.",
        {
            "id": _ID,
            "payload": {"type": "boolean", "description": "Whether to show the arguments of the task. Default: false."},
        },
        ("id",),
        _show_dead_letter,
    ),
    Tool(
        "show_task",
        "One task",
        "Everything about a task except its arguments and its result: state, options, attempts, reason to wait.",
        {"id": _ID},
        ("id",),
        _show_task,
    ),
    Tool(
        "why",
        "Why a task waits",
        "Why a task does not run, or how it ended, in one sentence.",
        {"id": _ID},
        ("id",),
        _why,
    ),
)

TOOLS: Final[Mapping[str, Tool]] = MappingProxyType({tool.name: tool for tool in _LISTED})
"""The tools by their names."""
