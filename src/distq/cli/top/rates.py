"""Rates of counters over the last minute, and their sparklines."""

from bisect import bisect_right
from collections import deque
from itertools import pairwise
from typing import Final

WINDOW_S: Final = 60.0
"""Seconds that a sparkline shows."""
RATE_S: Final = 3.0
"""Seconds over which the rate in figures is taken: a shorter span flickers, a longer one lags."""
BLOCKS: Final = "▁▂▃▄▅▆▇█"
ASCII_BLOCKS: Final = "_.:-=+*#"
"""The levels for a terminal whose encoding lacks the block characters."""


class Rates:
    """The samples of counters, by name."""

    def __init__(self) -> None:
        self._samples: dict[str, deque[tuple[float, float]]] = {}

    def note(self, name: str, at: float, count: float) -> None:
        """Note a counter's value at an instant, and forget the values from before the window."""
        samples = self._samples.setdefault(name, deque())
        if samples and (at < samples[-1][0] or count < samples[-1][1]):
            samples.clear()  # the master has started again, or its clock was set back
        samples.append((at, count))
        while len(samples) > 2 and samples[1][0] <= at - WINDOW_S:
            samples.popleft()

    def discard_unused(self, now: float) -> None:
        """Forget the counters that have had no value for a whole window."""
        for name in [name for name, samples in self._samples.items() if samples[-1][0] < now - WINDOW_S]:
            del self._samples[name]

    def rate(self, name: str) -> float | None:
        """Return a counter's increase in a second, None before the second value."""
        samples = self._samples.get(name)
        if samples is None or len(samples) < 2:
            return None
        newest_at, newest = samples[-1]
        first_at, first = next(sample for sample in samples if sample[0] >= newest_at - RATE_S or sample is samples[-2])
        return (newest - first) / (newest_at - first_at) if newest_at > first_at else 0.0

    def sparkline(self, name: str, width: int, blocks: str = BLOCKS) -> str:
        """Return the increases of a counter in the last minute, the newest last, in `width` characters."""
        samples = list(self._samples.get(name, ()))
        if len(samples) < 2:
            return " " * width
        instants = [at for at, _ in samples]
        end, step = instants[-1], WINDOW_S / width
        counts: list[float | None] = []
        for edge in range(width, -1, -1):
            place = bisect_right(instants, end - edge * step)
            counts.append(samples[place - 1][1] if place else None)
        increases = [
            None if after is None else after - (samples[0][1] if before is None else before)
            for before, after in pairwise(counts)
        ]
        most = max((one for one in increases if one is not None), default=0.0)
        return "".join(" " if one is None else blocks[_level(one, most, len(blocks))] for one in increases)


def _level(increase: float, most: float, levels: int) -> int:
    return 0 if most <= 0.0 else min(round(increase / most * (levels - 1)), levels - 1)
