"""The pauses of a client or worker before it connects again: they double up to a limit, with jitter."""

import random
from typing import Final

from distq.core.retry import Jitter

FIRST_S: Final = 0.1
DOUBLINGS_MAX: Final = 20
"""Maximum doublings of the first pause, so that the power of two stays small."""


class ReconnectBackoff:
    """The pauses between the attempts to make one connection."""

    __slots__ = ("_failures", "_jitter", "_max_s")

    def __init__(self, max_s: float, jitter: Jitter = random.random) -> None:
        self._max_s = max_s
        self._jitter = jitter
        self._failures = 0

    def connected(self) -> None:
        """Start with the first pause again."""
        self._failures = 0

    def pause_s(self) -> float:
        """Return the seconds to wait after one more failure.

        It is 50% to 100% of the pause, so that peers do not connect again at the same time.
        """
        pause_s = min(FIRST_S * 2 ** min(self._failures, DOUBLINGS_MAX), self._max_s)
        self._failures += 1
        return float(pause_s * (0.5 + 0.5 * self._jitter()))
