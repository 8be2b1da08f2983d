"""A warning for tasks that no worker will run as things are: the master is asked about those that have waited a while.

One call in five seconds at most, and ever fewer while the answer stays the same; none while nothing waits that long.
"""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Final

from distq.core.errors import DistqError
from distq.core.task_ids import id_text
from distq.protocol.methods import STUCK
from distq.wire.errors import RemoteRefusal

if TYPE_CHECKING:
    from distq.client.control_connection import ControlConnection
    from distq.client.pending_futures import PendingFutures

WAITED_S: Final = 5.0
"""Tasks that have waited for longer are asked about."""
PAUSE_MAX_S: Final = 60.0
ASKED_MAX: Final = 100
"""Tasks that one call asks about, the oldest: those behind them are of the same kinds, or their turn comes."""
WARNINGS_MAX: Final = 20
"""Different warnings of one client."""
PAUSE_MIN_S: Final = 0.05

log = logging.getLogger("distq")
_now = time.monotonic  # noqa: TID251 - the edge: how long tasks have waited


class StuckTasks:
    """What a client knows of its tasks that wait; for the one thread that sends submits."""

    def __init__(self, pending: PendingFutures, control: ControlConnection) -> None:
        self._pending = pending
        self._control = control
        self._waiting: list[int] = []
        """Tasks that were awaited when it was looked last."""
        self._pause_s = WAITED_S
        self._look_at = 0.0
        self._logged: set[str] = set()
        self._is_over = False
        """Whether the master cannot say, or enough was said."""

    def pause_s(self) -> float | None:
        """When to look again, in seconds; None for not before more is submitted."""
        if self._is_over or not self._pending:
            self._waiting, self._pause_s = [], WAITED_S
            return None
        if not self._waiting:
            self._begin()
        return max(self._look_at - _now(), PAUSE_MIN_S)

    def look(self) -> None:
        """Ask about what has waited for long enough, and say why it waits."""
        if self._is_over or not self._waiting or _now() < self._look_at:
            return
        waiting = [key for key in self._waiting if self._pending.knows(key)]
        if waiting:
            self._ask(waiting)
            self._pause_s = min(2 * self._pause_s, PAUSE_MAX_S)
        else:
            self._pause_s = WAITED_S
        self._begin()

    def _begin(self) -> None:
        self._waiting = self._pending.oldest(ASKED_MAX)
        self._look_at = _now() + self._pause_s

    def _ask(self, keys: list[int]) -> None:
        try:
            reasons = self._control.ask(STUCK, keys)
        except RemoteRefusal:
            self._is_over = True  # a master of a version before
            return
        except DistqError:
            return  # that no master is there is said elsewhere
        for key, why in reasons.items():
            if why not in self._logged and len(self._logged) < WARNINGS_MAX:
                self._logged.add(why)
                log.warning("Task %s waits. %s", id_text(key), why)
        self._is_over = len(self._logged) >= WARNINGS_MAX
