"""Watches the store: measures commits, asks for its health, and logs what has changed."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from distq.core.counters import Histogram

if TYPE_CHECKING:
    from distq.core.ports import Store

CHECK_S: Final = 2.0
"""Seconds between two health checks of the store."""
SLOW_S: Final = 1.0
"""Seconds from which a commit is logged as slow: every submit and settle waits for it."""
CHECKS_PER_WARNING: Final = 5
"""Health checks between two log lines about slow commits."""


class StoreWatch:
    """Checks the store every CHECK_S, and measures every commit."""

    def __init__(self, store: Store, log: Any) -> None:
        self.health: Mapping[str, object] = {}
        """The newest health report of the store."""
        self.commits = Histogram()
        """Seconds of each commit."""
        self._store = store
        self._log = log
        self._reason: str | None = None
        self._slow = 0
        self._slowest_s = 0.0
        self._checks_since_warning = CHECKS_PER_WARNING

    def committed(self, seconds: float) -> None:
        """Note the seconds that a commit took, whether it succeeded or not."""
        self.commits.observe(seconds)
        if seconds >= SLOW_S:
            self._slow += 1
            self._slowest_s = max(self._slowest_s, seconds)

    def not_ready(self) -> str | None:
        """Why the store takes no new tasks, as a sentence; None when it does."""
        return self._reason

    async def run(self) -> None:
        """Check the store until cancelled."""
        while True:
            await self.check()
            await asyncio.sleep(CHECK_S)  # no event announces that a disk fills

    async def check(self) -> None:
        """Ask the store for its health, and log what has changed."""
        self.health = await self._store.health()
        reason = _reason(self.health)
        if (reason is None) != (self._reason is None):
            if reason is not None:
                self._log.error("store_refused", reason=reason)
            else:
                self._log.info("store_recovered", free_bytes=self.health.get("free_bytes"))
        self._reason = reason
        self._checks_since_warning += 1
        if self._slow and self._checks_since_warning >= CHECKS_PER_WARNING:
            self._log.warning("commits_were_slow", commits=self._slow, slowest_s=round(self._slowest_s, 3))
            self._slow, self._slowest_s, self._checks_since_warning = 0, 0.0, 0


def _reason(health: Mapping[str, object]) -> str | None:
    if broken := health.get("broken"):
        return str(broken)
    if health.get("not_answering"):
        return str(health["not_answering"])
    if health.get("hangs"):
        return f"The disk of {health.get('file', 'the store')} does not answer."
    return str(health["refusing"]) if health.get("refusing") else None
