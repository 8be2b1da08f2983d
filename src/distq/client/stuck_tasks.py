"""The warning about tasks that no worker can run at present: the client asks the master why its oldest tasks wait.

The client makes at most one such call in five seconds, with a pause that doubles up to `PAUSE_MAX_S` while the tasks
wait, and none while no task waits that long.
"""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Any, Final

from distq.client.steps import MasterCall, Steps
from distq.core.errors import DistqError
from distq.core.task_ids import id_text
from distq.protocol.methods import STUCK
from distq.wire.errors import RemoteRefusal

if TYPE_CHECKING:
    from distq.client.pending_futures import PendingFutures

WAITED_S: Final = 5.0
"""Seconds that a task must have waited before the client asks the master about it."""
PAUSE_MAX_S: Final = 60.0
"""Maximum seconds between two calls, so that a task that waits for hours costs little."""
ASKED_MAX: Final = 100
"""Maximum tasks, the oldest ones, in one call: later tasks wait for the same reasons, or a later call has them."""
WARNINGS_MAX: Final = 20
"""Maximum different warnings that one client logs."""
IDLE_CHECK_S: Final = 1.0
"""Seconds between two looks of an asyncio client without tasks for its first one."""
PAUSE_MIN_S: Final = 0.05
"""Minimum seconds until the next check."""

log = logging.getLogger("distq")
_now = time.monotonic  # noqa: TID251 - the edge: how long tasks have waited


class StuckTasks:
    """Asks the master why a client's tasks wait, and logs the reasons; only the sender uses it."""

    def __init__(self, pending: PendingFutures[Any]) -> None:
        self._pending = pending
        self._waiting: list[int] = []
        """The keys of the oldest tasks that were awaited when the present pause began."""
        self._pause_s = WAITED_S
        self._look_at = 0.0
        self._logged: set[str] = set()
        self._is_over = False
        """Whether to stop: the master does not know the call, or WARNINGS_MAX warnings were logged."""

    def pause_s(self) -> float | None:
        """The seconds until the next call of `look`; None if none is needed before the next submit."""
        if self._is_over or not self._pending:
            self._waiting, self._pause_s = [], WAITED_S
            return None
        if not self._waiting:
            self._begin()
        return max(self._look_at - _now(), PAUSE_MIN_S)

    def look(self) -> Steps[None]:
        """Ask the master about the tasks that still wait after the pause, and log why they wait."""
        if self._is_over or not self._waiting or _now() < self._look_at:
            return
        waiting = [task_key for task_key in self._waiting if self._pending.knows(task_key)]
        if waiting:
            yield from self._ask(waiting)
            self._pause_s = min(2 * self._pause_s, PAUSE_MAX_S)
        else:
            self._pause_s = WAITED_S
        self._begin()

    def _begin(self) -> None:
        self._waiting = self._pending.oldest(ASKED_MAX)
        self._look_at = _now() + self._pause_s

    def _ask(self, keys: list[int]) -> Steps[None]:
        try:
            reasons = yield MasterCall(STUCK, (keys,))
        except RemoteRefusal:
            self._is_over = True  # a master of an earlier version
            return
        except DistqError:
            return  # `Outage` logs that no master answers
        for task_key, why in reasons.items():
            if why not in self._logged and len(self._logged) < WARNINGS_MAX:
                self._logged.add(why)
                log.warning("Task %s waits. %s", id_text(task_key), why)
        self._is_over = len(self._logged) >= WARNINGS_MAX
