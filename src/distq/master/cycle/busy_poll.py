"""Staying awake for a moment: who is asked again and again within it is not woken each time.

On an idle machine waking a process takes 20 to 40 µs, which is more than the master does for a task. So after a
request it looks about for a moment before it sleeps, if requests have come that closely of late; whoever else
wants the processor gets it first (`sched_yield`). A master that is asked now and then, or never, does not do it.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from typing import Final

AWAKE_S: Final = 0.0001
"""How long it stays awake: what comes later is worth the sleep."""


class BusyPoll:
    """What the broker does between two cycles before it sleeps."""

    def __init__(self, clock: Callable[[], float], give_way: Callable[[], None] = os.sched_yield) -> None:
        self._clock = clock
        self._give_way = give_way
        self._since = 0.0
        self._brisk = False

    async def keep(self, asked: Callable[[], bool]) -> None:
        """Look about until there is something to do, but not for long; and not at all if that was no use before."""
        clock = self._clock
        self._since = clock()
        if self._brisk:
            end = self._since + AWAKE_S
            while not asked() and clock() < end:
                self._give_way()
                await asyncio.sleep(0)

    def over(self) -> None:
        """There is something to do."""
        self._brisk = self._clock() - self._since < AWAKE_S
