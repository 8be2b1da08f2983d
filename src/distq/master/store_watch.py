"""What is known of the store: how long commits take, whether it has room, and who is told when that changes."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from distq.core.counters import Histogram

if TYPE_CHECKING:
    from distq.core.ports import Store

LOOK_S: Final = 2.0
"""How often the store is asked how it is."""
SLOW_S: Final = 1.0
"""A commit that takes longer is told of: everybody who submits or settles waits for it."""
TOLD_EVERY: Final = 5
"""Looks between two times that slow commits are told of."""


class StoreWatch:
    """Looks at the store now and then, and hears of every commit."""

    def __init__(self, store: Store, log: Any) -> None:
        self.health: Mapping[str, object] = {}
        """What the store said last."""
        self.commits = Histogram()
        """Seconds of each commit."""
        self._store = store
        self._log = log
        self._reason: str | None = None
        self._slow = 0
        self._slowest_s = 0.0
        self._looks_untold = TOLD_EVERY

    def committed(self, seconds: float) -> None:
        """A commit has ended, either way, and took so long."""
        self.commits.observe(seconds)
        if seconds >= SLOW_S:
            self._slow += 1
            self._slowest_s = max(self._slowest_s, seconds)

    def not_ready(self) -> str | None:
        """Why the store takes no new tasks, as a sentence; None when it does."""
        return self._reason

    async def run(self) -> None:
        """Look, for ever."""
        while True:
            await self.check()
            await asyncio.sleep(LOOK_S)  # it is looked at now and then, nobody announces a disk that fills

    async def check(self) -> None:
        """Ask the store how it is, and tell what has changed."""
        self.health = await self._store.health()
        reason = _reason(self.health)
        if (reason is None) != (self._reason is None):
            if reason is not None:
                self._log.error("store_refused", reason=reason)
            else:
                self._log.info("store_recovered", free_bytes=self.health.get("free_bytes"))
        self._reason = reason
        self._looks_untold += 1
        if self._slow and self._looks_untold >= TOLD_EVERY:
            self._log.warning("commits_were_slow", commits=self._slow, slowest_s=round(self._slowest_s, 3))
            self._slow, self._slowest_s, self._looks_untold = 0, 0.0, 0


def _reason(health: Mapping[str, object]) -> str | None:
    if broken := health.get("broken"):
        return str(broken)
    if health.get("hangs"):
        return f"The disk of {health.get('file', 'the store')} does not answer."
    return str(health["refusing"]) if health.get("refusing") else None
