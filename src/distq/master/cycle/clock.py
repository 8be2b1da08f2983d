"""The master's clock: even between two steps, and stepped when the machine's wall clock is set."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from distq.logs import get_logger

if TYPE_CHECKING:
    from collections.abc import Callable

    from distq.master.cycle.requests import Cycle
    from distq.master.cycle.timer import LoopTimer

STEP_MIN_S: Final = 0.5
"""Smallest difference to the machine's clock that the master follows, in seconds; a smaller one would falsify the
durations that it measures."""


class SystemClock:
    """Shows seconds since 1970, and runs evenly between two steps even if the machine's clock is set meanwhile."""

    def __init__(self) -> None:
        self._base = time.time() - time.monotonic()  # noqa: TID251 - this is the clock
        self.steps = 0
        """Number of steps since the clock was made."""
        self.stepped_s = 0.0
        """Sum of all steps in seconds; a step forward is positive."""

    def now(self) -> float:
        """The present instant, in seconds since 1970."""
        return self._base + time.monotonic()  # noqa: TID251

    def differs(self) -> float:
        """Seconds by which the machine's clock is ahead of this one; 0 if the difference is below STEP_MIN_S."""
        by_s = time.time() - self.now()  # noqa: TID251
        return by_s if abs(by_s) >= STEP_MIN_S else 0.0

    def step(self, by_s: float) -> None:
        """Set the clock forward by `by_s` seconds, or back if that is negative."""
        self._base += by_s
        self.steps += 1
        self.stepped_s += by_s


class ClockWatcher:
    """Follows the machine's clock, which an operator may set, and which stands still while the machine sleeps."""

    def __init__(self, clock: SystemClock, cycle: Cycle, timer: LoopTimer, plan_schedules: Callable[[], None]) -> None:
        self._clock = clock
        self._cycle = cycle
        self._timer = timer
        self._plan_schedules = plan_schedules
        """Plans the next scheduled run of every schedule by the clock as it is now."""

    def check(self) -> None:
        """Wake the cycle if the machine's clock was set: the clock is stepped only between two cycles."""
        if self._clock.differs():
            self._cycle.wake()

    def follow(self) -> None:
        """Step the master's clock, its timer, its deadlines and its schedules if the machine's clock was set."""
        by_s = self._clock.differs()
        if by_s:
            self._clock.step(by_s)
            get_logger().warning(
                "clock_stepped",
                by_s=round(by_s, 3),
                reason="the machine's clock was set, or the machine was asleep: etas, schedules and TTLs follow it",
            )
            self._timer.reset()
            self._cycle.shift(by_s)
            self._plan_schedules()
