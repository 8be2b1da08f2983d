"""The prefetch size: how many tasks an executor requests together, at least one and at most what it can run in 50 ms.

The estimate of a task's run time rises immediately and falls slowly, so that few tasks wait behind a long one. The
prefetch size starts at one and at most doubles with each exchange.
"""

from typing import Final

HORIZON_S: Final = 0.05
WANT_MAX: Final = 1000
FALL_SHARE: Final = 0.1


class PrefetchSize:
    """The prefetch size of one executor."""

    __slots__ = ("_estimate_s", "want")

    def __init__(self) -> None:
        self._estimate_s = 0.0
        self.want = 1
        """Number of tasks to request in the next exchange."""

    def task_ran(self, run_s: float) -> None:
        """Update the estimate with a task that ran for `run_s` seconds."""
        estimate_s = self._estimate_s
        self._estimate_s = run_s if run_s > estimate_s else estimate_s + FALL_SHARE * (run_s - estimate_s)

    def leased(self, count: int) -> None:
        """Set `want` for the next exchange, after the master has leased `count` tasks."""
        fitting = int(HORIZON_S / self._estimate_s) if self._estimate_s > HORIZON_S / WANT_MAX else WANT_MAX
        grown = self.want * 2 if count >= self.want else self.want
        self.want = max(1, min(fitting, grown))
