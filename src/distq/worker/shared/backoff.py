"""How long to wait before the next attempt to connect: from a tenth of a second, doubling, jittered, for ever."""

import random
from typing import Final

from distq.core.retry import Jitter

FIRST_S: Final = 0.1


class Reconnect:
    """The pauses of one connection that is tried again and again."""

    __slots__ = ("_failures", "_jitter", "_max_s")

    def __init__(self, max_s: float, jitter: Jitter = random.random) -> None:
        self._max_s = max_s
        self._jitter = jitter
        self._failures = 0

    def worked(self) -> None:
        """The connection stands: the next pause is the first one again."""
        self._failures = 0

    def pause_s(self) -> float:
        """Seconds to wait now, after one more failure: half to all of what is due, so that no crowd forms."""
        due_s = min(FIRST_S * 2 ** min(self._failures, 20), self._max_s)
        self._failures += 1
        return float(due_s * (0.5 + 0.5 * self._jitter()))
