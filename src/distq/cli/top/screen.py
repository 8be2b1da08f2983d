"""Draws the state of `distq top` as lines of text for a screen of any size."""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple

from rich.cells import set_cell_size
from rich.text import Text

from distq.cli.text import duration, printable
from distq.cli.top.rates import ASCII_BLOCKS, BLOCKS
from distq.cli.top.state import SORTS, VIEWS, State
from distq.core.plurals import counted

HELP: Final = (
    "1 2 3 4, Tab      queues, workers, running tasks, failures",
    "Up Down, j k      select a row; PgUp PgDn Home End turn the page",
    "s                 next sort of the table",
    "/                 filter the table by a text; Esc clears the filter",
    "Enter             the running tasks of a queue or worker; all about a task",
    "w                 of an open task: why it does not run, its times and causes",
    "t                 the stack of a running task",
    "c                 cancel the task; a running one is stopped",
    "r                 retry the dead letter",
    "Esc               back",
    "q, Ctrl-C         quit",
)
SPARK_WIDTH: Final = 12


class Column(NamedTuple):
    """One column of a table; a width of 0 takes the rest of the line."""

    title: str
    width: int
    cell: Callable[[dict[str, Any]], str]
    is_number: bool = False
    is_path: bool = False
    """Whether its end says more than its beginning, as that of module:function."""


def draw(state: State, width: int, height: int, address: str, blocks: str = BLOCKS) -> list[Text]:
    """Return the lines of the whole screen, exactly `height`."""
    room = max(height - 6, 1)
    if state.helps:
        body = [_line("Keys", width, "bold"), *(_line(line, width) for line in HELP)]
    elif state.detail is not None:
        shown = state.detail.lines[state.detail.top :]
        body = [_line(state.detail.title, width, "bold reverse"), *(_line(line, width) for line in shown)]
    else:
        body = _table(state, width, room, blocks)
    body = body[:room] + [Text()] * (room - len(body))
    lines = [*_head(state, width, address, blocks), *body, _message(state, width), _keys(state, width)]
    return lines[:height]


def _line(text: str, width: int, style: str = "") -> Text:
    return Text(set_cell_size(text, width) if style.endswith("reverse") else text, style=style)


def _head(state: State, width: int, address: str, blocks: str) -> list[Text]:
    page = state.page
    totals = {} if page is None else page["totals"]
    if not totals:
        return [_line(f"distq top  {address}", width, "bold"), Text(), Text(), _tabs(state, width)]
    clock = datetime.fromtimestamp(page["at"]).astimezone().strftime("%H:%M:%S") if page else ""
    first = (
        f"distq top  {address}  {counted(totals['workers'], 'worker')}, "
        f"{totals['busy']:,} of {counted(totals['slots'], 'slot')} busy, {counted(totals['queues'], 'queue')}"
    )
    counts = "   ".join(
        f"{totals[word]:,} {label}"
        for word, label in (
            ("ready", "ready"), ("held", "held"), ("delayed", "delayed"), ("leased", "running"), ("dead", "dead"),
        )
    )  # fmt: skip
    rates = "   ".join(
        f"{label} {_rate(state.rates.rate(f'total {word}')):>5}/s {state.rates.sparkline(f'total {word}', 9, blocks)}"
        for word, label in (("submitted", "submitted"), ("completed", "ended"), ("failed", "dead"))
    )
    return [
        Text(set_cell_size(first, max(width - len(clock) - 1, 0)) + " " + clock, style="bold"),
        Text(counts),
        Text(rates, style="cyan"),
        _tabs(state, width),
    ]


def _tabs(state: State, width: int) -> Text:
    tabs = Text()
    for number, view in enumerate(VIEWS, 1):
        tabs.append(f" {number} {view} ", style="bold reverse" if view == state.view else "")
        tabs.append(" ")
    chosen = f"sort: {SORTS[state.view][state.sorts[state.view]]}"
    if state.filters[state.view]:
        chosen += f"  filter: {printable(state.filters[state.view])}"
    tabs.append(chosen.rjust(max(width - tabs.cell_len, 0)))
    return tabs


def _table(state: State, width: int, room: int, blocks: str) -> list[Text]:
    columns = _columns(state, blocks)
    flexible = max(width - sum(column.width for column in columns) - len(columns) + 1, 8)
    widths = [column.width or flexible for column in columns]
    lines = [_row([column.title for column in columns], columns, widths, "bold underline")]
    rows = [] if state.page is None else state.page["rows"]
    for place, row in enumerate(rows[: room - 1]):
        style = "reverse" if place == state.selected else "yellow" if row.get("paused") or row.get("draining") else ""
        lines.append(_row([column.cell(row) for column in columns], columns, widths, style))
    if state.page is not None and not rows:
        some = f" that match {printable(state.filters[state.view])!r}" if state.filters[state.view] else ""
        what = {"running": "running tasks", "failures": "dead letters"}.get(state.view, state.view)
        lines.append(Text(f"There are no {what}{some}.", style="dim"))
    return lines


def _row(cells: Sequence[str], columns: Sequence[Column], widths: Sequence[int], style: str) -> Text:
    parts = []
    for cell, column, width in zip(cells, columns, widths, strict=True):
        text = printable(cell)
        if column.is_path and len(text) > width:
            text = "…" + text[-(width - 1) :]
        parts.append(text.rjust(width) if column.is_number and len(text) <= width else set_cell_size(text, width))
    return Text(" ".join(parts), style=style)


def _columns(state: State, blocks: str) -> list[Column]:
    at = 0.0 if state.page is None else state.page["at"]
    rates = state.rates
    if state.view == "queues":
        return [
            Column("queue", 0, lambda row: row["name"] + (" (paused)" if row["paused"] else "")),
            *(_count(word, label) for word, label in (("ready", "ready"), ("leased", "running"))),
            *(_count(word, word, 8) for word in ("delayed", "dead")),
            Column("in/s", 6, lambda row: _rate(rates.rate(f"submitted {row['name']}")), is_number=True),
            Column("ended/s", 7, lambda row: _rate(rates.rate(f"completed {row['name']}")), is_number=True),
            Column(
                "last minute",
                SPARK_WIDTH,
                lambda row: rates.sparkline(f"completed {row['name']}", SPARK_WIDTH, blocks),
            ),
        ]
    if state.view == "workers":
        return [
            Column("worker", 0, lambda row: row["name"]),
            Column("pool", 10, lambda row: row["pool"]),
            Column("slots", 6, lambda row: f"{row['slots']:,}", is_number=True),
            Column("busy", 6, lambda row: f"{row['busy']:,}", is_number=True),
            Column("memory", 9, lambda row: _memory(row["memory_bytes"]), is_number=True),
            Column("state", 8, lambda row: "draining" if row["draining"] else "active"),
            Column("version", 8, lambda row: row["version"]),
            Column("seen", 7, lambda row: duration(row["seen_age_s"]), is_number=True),
        ]
    task = [
        Column("task", 12, lambda row: row["id"]),
        Column("name", 0, lambda row: row["name"], is_path=True),
        Column("queue", 10, lambda row: row["queue"]),
    ]
    if state.view == "running":
        return [
            *task,
            Column("for", 7, lambda row: duration(max(at - row["since"], 0.0)), is_number=True),
            Column("try", 3, lambda row: str(row["attempt"]), is_number=True),
            Column("done", 5, lambda row: f"{row['progress'][0]:.0%}" if row["progress"] else "-", is_number=True),
            Column("executor", 14, lambda row: row["holder"] or "-", is_path=True),
        ]
    return [
        Column("died", 14, lambda row: datetime.fromtimestamp(row["died_at"]).astimezone().strftime("%m-%d %H:%M:%S")),
        *task,
        Column("cause", 22, lambda row: row["causes"][-1] if row["causes"] else "-"),
    ]


def _count(field: str, label: str, width: int = 9) -> Column:
    return Column(label, width, lambda row: f"{row[field]:,}", is_number=True)


def _rate(rate: float | None) -> str:
    if rate is None:
        return "-"
    return f"{rate:,.0f}" if rate >= 9.95 or rate == 0 else f"{rate:.1f}"


def _memory(size_bytes: int | None) -> str:
    return "-" if size_bytes is None else f"{size_bytes / 1024**2:,.0f} MiB"


def _message(state: State, width: int) -> Text:
    if state.question is not None:
        return Text(state.question.text, style="bold yellow")
    if state.typed is not None:
        return Text(f"Filter: {printable(state.typed)}_", style="bold")
    if state.lost:
        return Text(f"Connecting again. {state.lost}", style="bold red")
    if state.message:
        return Text(state.message, style="yellow")
    page = state.page
    if page is None or state.detail is not None or state.helps or page["matched"] <= len(page["rows"]):
        return Text()
    last = state.offset + len(page["rows"])
    return Text(f"{state.offset + 1:,} to {last:,} of {page['matched']:,}".rjust(width), style="dim")


def _keys(state: State, width: int) -> Text:
    if state.typed is not None:
        keys = "Enter apply  Esc leave"
    elif state.question is not None:
        keys = "y yes  any other key no"
    elif state.detail is not None:
        keys = "w why  t stack  c cancel  r retry  Esc back  ? keys  q quit"
    elif state.view in ("queues", "workers"):
        keys = "1-4 view  s sort  / filter  Enter its running tasks  ? keys  q quit"
    else:
        action = "r retry" if state.view == "failures" else "t stack  c cancel"
        keys = f"1-4 view  s sort  / filter  Enter open  {action}  ? keys  q quit"
    return _line(keys, width, "reverse")


def blocks_for(encoding: str) -> str:
    """Return the characters of sparklines that an encoding has."""
    try:
        BLOCKS.encode(encoding)
    except (UnicodeEncodeError, LookupError):
        return ASCII_BLOCKS
    return BLOCKS
