"""Wakes the cycle at an instant of the master's clock, by a timer of the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from distq.core.ports import Clock

DELAY_MIN_S: Final = 0.001
"""Shortest delay of the timer, in seconds: the event loop's timers are no finer, and an earlier cycle finds nothing
due."""


class LoopTimer:
    """One timer of the event loop, set to the earliest instant that was asked for."""

    def __init__(self, loop: asyncio.AbstractEventLoop, clock: Clock, wake: Callable[[], None]) -> None:
        self._loop = loop
        self._clock = clock
        self._wake = wake
        self._handle: asyncio.TimerHandle | None = None
        self._due_at = 0.0
        """When the timer is due, by the master's clock."""

    def __call__(self, at: float) -> None:
        """Wake the cycle at `at` (seconds of the master's clock), unless the timer is due earlier."""
        if self._handle is not None:
            if self._due_at <= at:
                return
            self._handle.cancel()
        self._due_at = at
        self._handle = self._loop.call_later(max(at - self._clock.now(), DELAY_MIN_S), self._elapsed)

    def reset(self) -> None:
        """Cancel the timer: the clock by which its delay was computed was set."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def _elapsed(self) -> None:
        self._handle = None
        self._wake()
