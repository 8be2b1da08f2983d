"""The master's clock: the machine's wall clock, followed step by step."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from distq.logs import get_logger

if TYPE_CHECKING:
    from distq.master.admin.schedules import Schedules
    from distq.master.cycle.requests import Cycle
    from distq.master.cycle.timer import LoopTimer

STEP_MIN_S: Final = 0.5
"""A difference to the machine's clock that is followed; smaller ones are left, so that durations are measured well."""


class SystemClock:
    """Seconds since 1970: even between two steps, whatever is done to the machine's clock meanwhile."""

    def __init__(self) -> None:
        self._base = time.time() - time.monotonic()  # noqa: TID251 - this is the clock
        self.steps = 0
        """How many times it was set since it was made, and ..."""
        self.stepped_s = 0.0
        """... by how much in all; forwards is above 0."""

    def now(self) -> float:
        """The present moment in seconds."""
        return self._base + time.monotonic()  # noqa: TID251

    def differs(self) -> float:
        """By how much the machine's clock was set since this one was, 0 if it was not."""
        by_s = time.time() - self.now()  # noqa: TID251
        return by_s if abs(by_s) >= STEP_MIN_S else 0.0

    def step(self, by_s: float) -> None:
        """Set it forwards, or back."""
        self._base += by_s
        self.steps += 1
        self.stepped_s += by_s


class ClockFollower:
    """Follows the machine's clock: it may be set right after the start, or stand still while the machine sleeps."""

    def __init__(self, clock: SystemClock, cycle: Cycle, alarm: LoopTimer, schedules: Schedules) -> None:
        self._clock = clock
        self._cycle = cycle
        self._alarm = alarm
        self._schedules = schedules

    def check(self) -> None:
        """Have a cycle follow the machine's clock, if it was set: nothing may be under way by the time of before."""
        if self._clock.differs():
            self._cycle.wake()

    def follow(self) -> None:
        """Follow the machine's clock, if it was set."""
        by_s = self._clock.differs()
        if by_s:
            self._clock.step(by_s)
            get_logger().warning(
                "clock_stepped",
                by_s=round(by_s, 3),
                reason="the machine's clock was set, or the machine was asleep: etas, schedules and TTLs follow it",
            )
            self._alarm.reset()
            self._cycle.shift(by_s)
            self._schedules.plan_all()
