"""The delay before a retry of a failed task: exponential, with jitter, up to a maximum."""

from collections.abc import Callable
from typing import NamedTuple

Jitter = Callable[[], float]
"""A function that returns a random number from 0 up to 1; it is an argument because the core has no randomness."""


class Backoff(NamedTuple):
    """`base_s` x 2^n, plus or minus 25 %, at most `max_s`."""

    base_s: float = 1.0
    max_s: float = 600.0

    def delay_s(self, failures: int, jitter: Jitter) -> float:
        """Seconds to wait after the `failures`-th failure (from 1)."""
        exponent = min(failures - 1, 40)  # beyond this any base is over any limit, and floats overflow
        return float(min(self.base_s * 2**exponent * (0.75 + 0.5 * jitter()), self.max_s))
