"""How long a client or worker waits before it connects again: pauses that double, with jitter, up to a limit."""

import random
from typing import Final

from distq.core.retry import Jitter

FIRST_S: Final = 0.1
DOUBLINGS_MAX: Final = 20
"""Doublings of the first pause, beyond which the power of two is not computed any more."""


class ReconnectBackoff:
    """The pauses between the attempts of one connection."""

    __slots__ = ("_failures", "_jitter", "_max_s")

    def __init__(self, max_s: float, jitter: Jitter = random.random) -> None:
        self._max_s = max_s
        self._jitter = jitter
        self._failures = 0

    def connected(self) -> None:
        """Begin with the first pause again."""
        self._failures = 0

    def pause_s(self) -> float:
        """Seconds to wait after one more failure: half to all of the pause, so that peers come back spread out."""
        pause_s = min(FIRST_S * 2 ** min(self._failures, DOUBLINGS_MAX), self._max_s)
        self._failures += 1
        return float(pause_s * (0.5 + 0.5 * self._jitter()))
