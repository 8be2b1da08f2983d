"""Wakes the broker at a moment: the only place where its time meets the event loop's."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from distq.core.ports import Clock

DELAY_MIN_S: Final = 0.001
"""Timers are not finer than this; an earlier ring would find nothing due yet."""


class LoopTimer:
    """One timer for all moments: it is set to the earliest."""

    def __init__(self, loop: asyncio.AbstractEventLoop, clock: Clock, wake: Callable[[], None]) -> None:
        self._loop = loop
        self._clock = clock
        self._wake = wake
        self._timer: asyncio.TimerHandle | None = None
        self._at = 0.0

    def __call__(self, at: float) -> None:
        """Ring at `at` (seconds of the clock), unless it rings before anyway."""
        if self._timer is not None:
            if self._at <= at:
                return
            self._timer.cancel()
        self._at = at
        self._timer = self._loop.call_later(max(at - self._clock.now(), DELAY_MIN_S), self._ring)

    def reset(self) -> None:
        """Forget what it is set to: the clock by which that was worked out was set."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _ring(self) -> None:
        self._timer = None
        self._wake()
