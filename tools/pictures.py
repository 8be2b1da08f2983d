"""Draws README's pictures of the dashboards and of a terminal: `make pictures` while the demo load runs.

    docker compose up --detach master worker prometheus demo      # and wait for some minutes
    make pictures MINUTES=15

The program sends every panel's expressions to Prometheus, with every variable at `All`, and draws the answers.
"""

from __future__ import annotations

import json
import math
import re
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from matplotlib import dates, rcParams
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator
from rich.console import Console
from rich.text import Text

ROOT: Final = Path(__file__).resolve().parents[1]
DASHBOARDS: Final = ROOT / "helm" / "files" / "dashboards"
PICTURES: Final = ROOT / "docs" / "pictures"
STEPS: Final = 180
ACROSS: Final = 24
"""Width of a dashboard in units of its grid."""
UNIT_IN: Final = 0.62, 0.36
"""Width and height of one unit, in inches."""
INK, DIM, PAPER, CARD, LINE = "#d8d9da", "#8e9297", "#111217", "#181b1f", "#2c3235"
COLORS: Final = ("#73bf69", "#f2cc0c", "#5794f2", "#ff780a", "#e02f44", "#b877d9", "#8ab8ff", "#37872d", "#fade2a")
SERIES_MAX: Final = 9
COMMANDS: Final = (("distq", "status"), ("distq", "dead", "list", "--limit", "6"), ("distq", "schedule", "list"))


def asked(expr: str) -> str:
    """Return an expression with the values that Grafana inserts for variables."""
    for variable in ("namespace", "queue", "task", "pool"):
        expr = expr.replace(f"${variable}", ".*")
    return expr.replace("$__rate_interval", "1m")


def series(url: str, expr: str, since: float, until: float) -> list[tuple[Mapping[str, str], list[float], list[float]]]:
    """Return the series of an expression: labels, times and values of each."""
    query = {"query": asked(expr), "start": since, "end": until, "step": (until - since) / STEPS}
    with urllib.request.urlopen(f"{url}/api/v1/query_range?{urllib.parse.urlencode(query)}", timeout=30) as answer:
        found = json.load(answer)["data"]["result"]
    return [
        (one["metric"], [float(at) for at, _ in one["values"]], [float(value) for _, value in one["values"]])
        for one in found
    ]


def written(value: float, unit: str) -> str:
    """Return a number as text in a panel's unit."""
    if math.isnan(value):
        return "no data"
    if unit == "percentunit":
        return f"{value * 100:.3g} %"
    if unit == "bytes":
        return next(
            (
                f"{value / 2**power:.3g} {name}"
                for power, name in ((30, "GiB"), (20, "MiB"), (10, "KiB"))
                if value >= 2**power
            ),
            f"{value:.3g} B",
        )
    if unit == "s":
        if value < 1:
            return f"{value * 1000:.3g} ms" if value else "0 s"
        return f"{value:.3g} s" if value < 120 else f"{value / 60:.3g} min"
    return (f"{value:,.0f}" if value >= 1_000 else f"{value:.3g}") + (" /s" if unit == "ops" else "")


def named(legend: str, labels: Mapping[str, str]) -> str:
    """Return a series' name in the legend."""
    for label, text in labels.items():
        legend = legend.replace(f"{{{{{label}}}}}", text)
    return legend


def draw_number(axes: Axes, panel: Mapping[str, Any], lines: Sequence[tuple[str, list[float], list[float]]]) -> None:
    """Draw a panel with one number and a graph behind it."""
    defaults = panel["fieldConfig"]["defaults"]
    values = lines[0][2] if lines else [math.nan]
    color = "green"
    for step in defaults["thresholds"]["steps"]:
        if step["value"] is None or values[-1] >= step["value"]:
            color = step["color"]
    shade = {"green": "#73bf69", "orange": "#ff9830", "red": "#f2495c"}[color]
    if lines:
        axes.fill_between(lines[0][1], values, color=shade, alpha=0.25, linewidth=0)
        axes.set_ylim(0, max(max(values) * 2.2, 1e-9))
    axes.text(
        0.5,
        0.5,
        written(values[-1], defaults["unit"]),
        color=shade,
        ha="center",
        va="center",
        fontsize=26,
        transform=axes.transAxes,
    )
    axes.set_axis_off()


def draw_graph(axes: Axes, panel: Mapping[str, Any], lines: Sequence[tuple[str, list[float], list[float]]]) -> None:
    """Draw a panel with a graph over time."""
    defaults = panel["fieldConfig"]["defaults"]
    stacked = defaults.get("custom", {}).get("stacking", {}).get("mode") == "normal"
    shown = sorted(lines, key=lambda line: -max(line[2], default=0.0))[:SERIES_MAX]
    low = [0.0] * max((len(line[2]) for line in shown), default=0)
    for (name, times, values), color in zip(shown, COLORS, strict=False):
        days = [at / 86_400 for at in times]
        label = f"{name}   {written(values[-1], defaults['unit'])}"
        if stacked and len(values) == len(low):
            top = [one + other for one, other in zip(low, values, strict=True)]
            axes.fill_between(days, low, top, color=color, alpha=0.45, linewidth=0.8, label=label)
            low = top
        else:
            axes.plot(days, values, color=color, linewidth=1.1, label=label)
    axes.set_ylim(0, None if any(any(line[2]) for line in shown) else 1)
    if defaults.get("max") is not None:
        axes.set_ylim(top=defaults["max"] * 1.05)
    axes.xaxis.set_major_formatter(dates.DateFormatter("%H:%M"))
    axes.xaxis.set_major_locator(MaxNLocator(4))
    axes.yaxis.set_major_locator(MaxNLocator(4))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: written(value, defaults["unit"])))
    axes.tick_params(colors=DIM, labelsize=6.5, length=0)
    axes.grid(color=LINE, linewidth=0.5)
    for spine in axes.spines.values():
        spine.set_visible(False)
    if shown:
        axes.legend(
            loc="upper center",
            bbox_to_anchor=(0.5, -0.16),
            fontsize=6,
            frameon=False,
            labelcolor=DIM,
            ncols=1 + (len(shown) > 3),
            handlelength=1,
        )


def draw(url: str, board: Mapping[str, Any], since: float, until: float) -> Figure:
    """Draw one dashboard."""
    panels = board["panels"]
    height = max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in panels) + 2
    figure = Figure(figsize=(ACROSS * UNIT_IN[0], height * UNIT_IN[1]), facecolor=PAPER)
    figure.text(0.008, 1 - 1.1 / height, board["title"], color=INK, fontsize=15, va="center")
    for panel in panels:
        place = panel["gridPos"]
        left, top = place["x"] / ACROSS, 1 - (place["y"] + 2) / height
        width, tall = place["w"] / ACROSS, place["h"] / height
        if panel["type"] == "row":
            figure.text(left + 0.008, top - tall / 2, f"⌄ {panel['title']}", color=INK, fontsize=10, va="center")
            continue
        card = figure.add_axes((left + 0.003, top - tall + 0.2 / height, width - 0.006, tall - 0.3 / height))
        card.set(facecolor=CARD, xticks=[], yticks=[])
        for spine in card.spines.values():
            spine.set_color(LINE)
        figure.text(left + 0.01, top - 0.6 / height, panel["title"], color=INK, fontsize=8.5, va="center")
        lines = [
            (named(query["legendFormat"], labels), times, values)
            for query in panel["targets"]
            for labels, times, values in series(url, query["expr"], since, until)
        ]
        number = panel["type"] == "stat"
        below = (
            0.4 if number else min(1.2 + 0.42 * math.ceil(min(len(lines), SERIES_MAX) / (1 + (len(lines) > 3))), 3.6)
        )
        axes = figure.add_axes(
            (
                left + (0.006 if number else 0.036),
                top - tall + below / height,
                width - (0.012 if number else 0.046),
                tall - (below + 1.1) / height,
            )
        )
        axes.set_facecolor(CARD)
        (draw_number if number else draw_graph)(axes, panel, lines)
    return figure


def terminal(commands: Sequence[Sequence[str]]) -> str:
    """Return an SVG picture of a terminal that shows commands and their output."""
    console = Console(record=True, width=132, file=sys.stderr, force_terminal=True, color_system="truecolor")
    for command in commands:
        inside = ["docker", "compose", "exec", "--no-TTY", "--env", "COLUMNS=128", "--env", "FORCE_COLOR=1", "master"]
        said = subprocess.run([*inside, *command], cwd=ROOT, capture_output=True, text=True, check=True).stdout
        console.print(Text(f"$ {' '.join(command)}", style="bold green"))
        console.print(Text.from_ansi(said))
        console.print()
    picture = console.export_svg(title="distq")
    return re.sub(r"@font-face \{.*?\}\s*", "", picture, flags=re.DOTALL)  # fonts from another site


def main(url: str, minutes: str) -> None:
    """Write all pictures to docs/pictures."""
    rcParams["font.family"] = "DejaVu Sans"
    until = time.time()  # noqa: TID251 - Prometheus uses the wall clock
    since = until - 60 * float(minutes)
    for path in sorted(DASHBOARDS.glob("*.json")):
        figure = draw(url, json.loads(path.read_text(encoding="utf-8")), since, until)
        figure.savefig(PICTURES / f"{path.stem}.png", dpi=110)
    (PICTURES / "terminal.svg").write_text(terminal(COMMANDS), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
