"""Draws the medians of a run as bars: `python -m benchmarks.peers.plot peers.json peers.svg`."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import Any, Final

PANELS: Final = (
    ("tasks_per_s", "Tasks a second that do nothing (longer is better)", "{:,.0f}"),
    ("mb_per_s", "MB/s of 100 kB arguments and results (longer is better)", "{:,.0f}"),
    ("p50_ms", "Milliseconds of a round trip, median (shorter is better)", "{:,.2f}"),
)
"""The drawn figures, their titles and the form of their numbers."""
WIDTH: Final = 760
NAMES: Final = 190
BARS: Final = 470
ROW: Final = 20
HEAD: Final = 36
OURS, OTHERS = "#2f6fde", "#9aa4b2"
"""Colours of distq's bars and of the others'."""


def drawn(result: Mapping[str, Any]) -> str:
    """Return the picture. Each scale is logarithmic, because the systems differ by a factor of a thousand."""
    parts, top = [], 0
    for figure, title, form in PANELS:
        panel, top = _panel(result, figure, title, form, top)
        parts += panel
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {top}" width="{WIDTH}" height="{top}" '
        'font-family="sans-serif" font-size="12" role="img" aria-label="Figures of distq and of other systems">'
    )
    background = f'<rect width="{WIDTH}" height="{top}" fill="#ffffff"/>'
    return "\n".join((head, background, *parts, "</svg>")) + "\n"


def _panel(result: Mapping[str, Any], figure: str, title: str, form: str, top: int) -> tuple[list[str], int]:
    found = {
        one["title"]: one["medians"][figure] for one in result["systems"].values() if figure in one.get("medians", {})
    }
    parts = [f'<text x="10" y="{top + 24}" font-weight="bold" fill="#1c2733">{escape(title)}</text>']
    top += HEAD
    low, high = math.log10(min(found.values())) - 0.3, math.log10(max(found.values()))
    for name, value in sorted(found.items(), key=lambda pair: pair[1], reverse=figure != "p50_ms"):
        length = BARS * (math.log10(value) - low) / (high - low)
        colour = OURS if name.startswith("distq") else OTHERS
        parts += [
            f'<text x="{NAMES - 8}" y="{top + 14}" text-anchor="end" fill="#1c2733">{escape(name)}</text>',
            f'<rect x="{NAMES}" y="{top + 3}" width="{length:.1f}" height="{ROW - 6}" fill="{colour}"/>',
            f'<text x="{NAMES + length + 6:.1f}" y="{top + 14}" fill="#1c2733">{form.format(value)}</text>',
        ]
        top += ROW
    return parts, top + 8


if __name__ == "__main__":
    Path(sys.argv[2]).write_text(drawn(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))), encoding="utf-8")
