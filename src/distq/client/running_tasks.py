"""The client's query for its running tasks: one call for many tasks, made only when a program asks for a state."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

from distq.client.pending_futures import WATCHED_MAX
from distq.client.steps import MasterCall, Steps
from distq.core.errors import DistqError
from distq.protocol.methods import RUNNING
from distq.wire.errors import RemoteRefusal

if TYPE_CHECKING:
    from distq.client.pending_futures import PendingFutures

FRESH_S: Final = 0.1
"""Seconds for which an answer is used again, so that a program that looks at 5,000 futures makes one call."""

_now = time.monotonic  # noqa: TID251 - the edge: how old an answer is


class RunningTasks:
    """Keeps the master's last answer about running tasks."""

    def __init__(self, pending: PendingFutures[Any]) -> None:
        self._pending = pending
        self._running: frozenset[Any] = frozenset()
        self._asked_keys: frozenset[int] = frozenset()
        self._asked_at = -FRESH_S

    def has(self, task_key: int) -> Steps[bool]:
        """Whether that task runs; False also if no master answers, or an earlier version does not know the call."""
        if task_key not in self._asked_keys or _now() - self._asked_at >= FRESH_S:
            keys = self._pending.keys_from(task_key, WATCHED_MAX)
            try:
                self._running = frozenset((yield MasterCall(RUNNING, (keys,))))
            except (DistqError, RemoteRefusal):
                self._running = frozenset()
            self._asked_keys, self._asked_at = frozenset(keys), _now()
        return task_key in self._running
