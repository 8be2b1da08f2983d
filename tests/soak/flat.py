"""Tests whether a series of measurements is flat, with a straight line through it and the error of its slope.

A run counts as flat if the line through its samples rises, from the first sample to the last, by at most a stated
allowance plus `SIGMAS` standard errors of that rise, which chance can cause. The series leaves out the first part of a
run, in which caches fill and retained results have not expired yet.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final, NamedTuple

SIGMAS: Final = 3.0
"""Standard errors of the rise that are allowed; independent noise exceeds three of them once in a thousand runs."""
SAMPLES_MIN: Final = 10
"""Minimum number of samples; fewer give no useful slope."""

Sample = tuple[float, float]
"""The time in seconds, and the measured value."""


class Growth(NamedTuple):
    """How much a line through samples rises from the first of them to the last."""

    rise: float
    error: float
    """The standard error of that rise."""
    mean: float

    def exceeds(self, allowance: float) -> bool:
        """Return whether the rise exceeds the allowance and what chance can cause."""
        return self.rise > allowance + SIGMAS * self.error


def growth_of(samples: Sequence[Sample]) -> Growth:
    """Return the growth of the least-squares line through the samples. Raises ValueError for fewer than SAMPLES_MIN."""
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
