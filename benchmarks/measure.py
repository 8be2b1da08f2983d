"""Helpers that measure times and print tables."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence


def seconds(action: Callable[[], object]) -> float:
    """Return the seconds of one call."""
    started_at = time.perf_counter()
    action()
    return time.perf_counter() - started_at


def median_s(action: Callable[[], object], times: int) -> float:
    """Return the median seconds of `times` calls."""
    return statistics.median(seconds(action) for _ in range(times))


def show(title: str, rows: Sequence[tuple[str, ...]], heads: tuple[str, ...]) -> None:
    """Print a table with as many columns as there are heads."""
    widths = [max(len(row[column]) for row in (heads, *rows)) for column in range(len(heads))]
    print(f"\n{title}")
    for row in (heads, *rows):
        first, *rest = (
            text.ljust(widths[0]) if not column else text.rjust(widths[column]) for column, text in enumerate(row)
        )
        print("  " + "   ".join((first, *rest)))


def time_text(value_s: float) -> str:
    """Return seconds as text in a suitable unit."""
    if value_s >= 1:
        return f"{value_s:.2f} s"
    return f"{value_s * 1e3:.2f} ms" if value_s >= 1e-3 else f"{value_s * 1e6:.0f} µs"
