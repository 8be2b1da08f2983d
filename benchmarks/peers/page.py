"""Writes the table of docs/explanation/speed.md from the run that the page shows, and its plot.

    python -m benchmarks.peers.page

The run is `benchmarks/peers/results/peers.json`; copy it there from the folder that `make bench-peers` names.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from benchmarks.peers.plot import drawn
from benchmarks.peers.system import ROOT, number_text

RESULT: Final = Path(__file__).parent / "results" / "peers.json"
PAGE: Final = ROOT / "docs" / "explanation" / "speed.md"
PLOT: Final = ROOT / "docs" / "pictures" / "peers.svg"
BEGIN: Final = "<!-- The table that benchmarks/peers/page.py writes: -->\n"
END: Final = "\n<!-- Its end. -->"
BASE: Final = "distq_memory"
"""The system whose figures the ratios of the others are taken of."""


def table(result: Mapping[str, Any]) -> str:
    """Return the rows in Markdown: each figure, and in brackets its multiple of distq's in memory."""
    units: dict[str, str] = result["units"]
    base = result["systems"][BASE]["medians"]
    rows = ["| | " + " | ".join(units.values()) + " |", "|---|" + "---|" * len(units)]
    for name, one in result["systems"].items():
        if "failed" in one:
            rows.append(f"| {one['title']} | did not run to the end: {one['failed']} |" + " |" * (len(units) - 1))
            continue
        cells = [_cell(one["medians"].get(unit), base[unit], of_base=name == BASE) for unit in units]
        rows.append(f"| {one['title']} | " + " | ".join(cells) + " |")
    return "\n".join(rows) + "\n"


def _cell(value: float | None, base: float, *, of_base: bool) -> str:
    if value is None:
        return "-"
    return number_text(value) if of_base else f"{number_text(value)} ({number_text(value / base)} x)"


def with_table(page: str, result: Mapping[str, Any]) -> str:
    """Return the page with the table of this result."""
    before, found, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not found or not end:
        raise SystemExit(
            f"{PAGE} has no place for the table: it begins with {BEGIN.strip()} and ends with {END.strip()}."
        )
    return f"{before}{BEGIN}\n{table(result)}{END}{after}"


def main() -> None:
    """Write the table and the plot."""
    result = json.loads(RESULT.read_text(encoding="utf-8"))
    PAGE.write_text(with_table(PAGE.read_text(encoding="utf-8"), result), encoding="utf-8")
    PLOT.write_text(drawn(result), encoding="utf-8")


if __name__ == "__main__":
    main()
