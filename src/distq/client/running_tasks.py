"""Which of a client's tasks run, asked of the master only when a program wants to know, and for all of them at once."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

from distq.client.pending_futures import WATCHED_MAX
from distq.core.errors import DistqError
from distq.protocol.methods import RUNNING
from distq.wire.errors import RemoteRefusal

if TYPE_CHECKING:
    from distq.client.control_connection import ControlConnection
    from distq.client.pending_futures import PendingFutures

FRESH_S: Final = 0.1
"""For how long an answer is good: a program that looks at 5,000 futures makes one call."""

_now = time.monotonic  # noqa: TID251 - the edge: how old an answer is


class RunningTasks:
    """What the master has said last."""

    def __init__(self, control: ControlConnection, pending: PendingFutures) -> None:
        self._control = control
        self._pending = pending
        self._running: frozenset[Any] = frozenset()
        self._asked_keys: frozenset[int] = frozenset()
        self._asked_at = -FRESH_S

    def has(self, key: int) -> bool:
        """Whether that task runs; False also where no master answers, or one that cannot say."""
        if key not in self._asked_keys or _now() - self._asked_at >= FRESH_S:
            keys = self._pending.keys_from(key, WATCHED_MAX)
            try:
                self._running = frozenset(self._control.ask(RUNNING, keys))
            except (DistqError, RemoteRefusal):
                self._running = frozenset()
            self._asked_keys, self._asked_at = frozenset(keys), _now()
        return key in self._running
