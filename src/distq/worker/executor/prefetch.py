"""How many tasks an executor asks for at once: as many as it is likely to run in 50 ms, at least one.

The estimate rises at once and falls slowly: one long task among short ones must not have others wait behind
it. It starts at one and at most doubles with each exchange.
"""

from typing import Final

HORIZON_S: Final = 0.05
WANT_MAX: Final = 1000
FALL_SHARE: Final = 0.1


class PrefetchSize:
    """The pace of one executor."""

    __slots__ = ("_estimate_s", "want")

    def __init__(self) -> None:
        self._estimate_s = 0.0
        self.want = 1
        """How many tasks to ask for now."""

    def task_ran(self, run_s: float) -> None:
        """Learn how long a task took."""
        estimate_s = self._estimate_s
        self._estimate_s = run_s if run_s > estimate_s else estimate_s + FALL_SHARE * (run_s - estimate_s)

    def leased(self, count: int) -> None:
        """Learn how many tasks came; sets `want` for the next exchange."""
        fitting = int(HORIZON_S / self._estimate_s) if self._estimate_s > HORIZON_S / WANT_MAX else WANT_MAX
        grown = self.want * 2 if count >= self.want else self.want
        self.want = max(1, min(fitting, grown))
