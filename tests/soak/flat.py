"""Whether a series of measurements stays flat: a straight line through it, and how sure its slope is.

A run counts as flat if the line through its samples rises by no more than a stated allowance from the first sample to
the last, plus what chance alone could do: `SIGMAS` standard errors of that rise. The first part of a run is left out:
caches fill, and what is kept for a while has not gone yet.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final, NamedTuple

SIGMAS: Final = 3.0
"""With noise that knows no order a flat series exceeds this once in a thousand runs."""
SAMPLES_MIN: Final = 10
"""Fewer samples say nothing of a slope."""

Sample = tuple[float, float]
"""When, in seconds, and how much."""


class Growth(NamedTuple):
    """How much a line through samples rises from the first of them to the last."""

    rise: float
    error: float
    """One standard error of that."""
    mean: float

    def exceeds(self, allowance: float) -> bool:
        """Whether it rises by more than is allowed and more than chance could do."""
        return self.rise > allowance + SIGMAS * self.error


def growth_of(samples: Sequence[Sample]) -> Growth:
    """The least-squares line through the samples. Raises ValueError for fewer than SAMPLES_MIN."""
    count = len(samples)
    if count < SAMPLES_MIN:
        raise ValueError(f"{count} samples, and a slope takes at least {SAMPLES_MIN}")
    mean_at = math.fsum(at for at, _ in samples) / count
    mean = math.fsum(value for _, value in samples) / count
    spread = math.fsum((at - mean_at) ** 2 for at, _ in samples)
    if not spread:
        raise ValueError("all samples were taken at one time")
    slope = math.fsum((at - mean_at) * (value - mean) for at, value in samples) / spread
    rests = math.fsum((value - mean - slope * (at - mean_at)) ** 2 for at, value in samples)
    length_s = samples[-1][0] - samples[0][0]
    return Growth(slope * length_s, math.sqrt(rests / (count - 2) / spread) * length_s, mean)
