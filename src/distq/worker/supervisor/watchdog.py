"""Decides by an executor's page whether to take back its tasks, request its stack, or kill it."""

from __future__ import annotations

from enum import Enum, auto
from typing import Final

from distq.worker.shared.batch_page import BatchPage, BatchPosition
from distq.worker.shared.lease_id import LeaseId
from distq.worker.shared.page import ExecutorPage
from distq.worker.shared.slots_page import SlotsPage

CHECK_S: Final = 0.125
"""Seconds between two checks of an executor."""
LONG_S: Final = 0.3
"""Seconds after which tasks do not wait any longer behind the running one: they are taken back."""
KILL_AFTER_S: Final = 2.0
"""Seconds from the exception in a task, at its time limit or when it is stopped, until its executor is killed."""
STACK_S: Final = 1.0
"""Maximum seconds for the executor to write its stack."""
LEAVE_S: Final = 10.0
"""Maximum seconds from the last settlement of an executor to its exit: tear-downs, exit hooks, threads of libraries."""


class Need(Enum):
    """What an executor needs."""

    NOTHING = auto()
    REVOKE = auto()
    """The tasks that have not begun must be taken back."""
    STACK = auto()
    """The executor must write its stack: it is to be killed."""
    END = auto()
    """The executor must be killed: it has settled everything, and what its tasks have left keeps it from exiting."""
    KILL = auto()
    """The executor must be killed: its task has exceeded its time limit."""
    STOP = auto()
    """The executor must be killed: its task was asked to stop, and has not."""


class LeavingWatchdog:
    """Checks an executor that has settled everything: since when it leaves, and when its stack was asked for."""

    __slots__ = ("_asked_at", "_since_at")

    def __init__(self) -> None:
        self._since_at: float | None = None
        self._asked_at: float | None = None

    def check(self, page: ExecutorPage, now: float) -> Need | None:
        """What the executor needs now; None if it is not leaving."""
        if not page.is_leaving:
            return None
        if self._since_at is None:
            self._since_at = now
        if now < self._since_at + LEAVE_S:
            return Need.NOTHING
        if self._asked_at is None:
            self._asked_at = now
            return Need.STACK
        return Need.END if page.stack or now >= self._asked_at + STACK_S else Need.NOTHING


class Watchdog:
    """Checks an executor that runs one task at a time."""

    __slots__ = ("_asked_at", "_last_position", "_page", "_since_at", "_stop_at", "blamed", "limit_s")

    def __init__(self, page: BatchPage) -> None:
        self._page = page
        self.blamed: LeaseId | None = None
        """The task for which the executor is to be killed."""
        self.limit_s = 0.0
        """That task's time limit in seconds, if the task has exceeded it."""
        self._last_position = BatchPosition(0, -1)
        self._since_at = 0.0
        """When the executor was first seen at that position."""
        self._asked_at: float | None = None
        self._stop_at: float | None = None

    def stop(self, _lease_id: LeaseId, now: float) -> None:
        """Note that the running task was asked to stop: it has `KILL_AFTER_S` for that."""
        self._last_position, self._since_at, self._asked_at = self._page.position, now, None
        self._stop_at = now + KILL_AFTER_S

    @property
    def only_task(self) -> LeaseId | None:
        """The task that alone has run since the last check; None if that is not known."""
        page, last = self._page, self._last_position
        position = page.position
        has_ended = position == BatchPosition(last.batch, -1) and last.started == len(page.held) - 1
        return self.blamed if position == last or has_ended else None

    def check(self, now: float) -> Need:
        """What the executor needs now."""
        page = self._page
        position = page.position
        if position != self._last_position:
            self._last_position, self._since_at, self._asked_at, self._stop_at = position, now, None, None
        self.blamed = page.running
        if self._stop_at is not None and now >= self._stop_at:
            return Need.STOP
        if position.started < 0:
            return Need.NOTHING
        limit = page.limit
        if limit is not None and now >= limit.began_at + limit.limit_s + KILL_AFTER_S:
            self.limit_s = limit.limit_s
            if self._asked_at is None:
                self._asked_at = now
                return Need.STACK
            return Need.KILL if page.stack or now >= self._asked_at + STACK_S else Need.NOTHING
        if now - self._since_at >= LONG_S and not page.is_returned(position.batch) and page.unstarted(position):
            return Need.REVOKE
        return Need.NOTHING


class SlotsWatchdog:
    """Checks an executor that runs several tasks at the same time: to kill it for one task ends the others too."""

    __slots__ = ("_asked_at", "_page", "_stop_at", "blamed", "limit_s")

    def __init__(self, page: SlotsPage) -> None:
        self._page = page
        self.blamed: LeaseId | None = None
        """The task for which the executor is to be killed."""
        self.limit_s = 0.0
        """That task's time limit in seconds, if the task has exceeded it."""
        self._asked_at: float | None = None
        self._stop_at: dict[LeaseId, float] = {}
        """When the executor is killed for a task that was asked to stop and still runs."""

    def stop(self, lease_id: LeaseId, now: float) -> None:
        """Note that a task was asked to stop: it has `KILL_AFTER_S` for that."""
        self._stop_at.setdefault(lease_id, now + KILL_AFTER_S)

    def check(self, now: float) -> Need:
        """What the executor needs now."""
        tasks = list(self._page.slot_tasks())
        running = {task.lease_id for task in tasks}
        self._stop_at = {lease_id: at for lease_id, at in self._stop_at.items() if lease_id in running}
        for lease_id, at in self._stop_at.items():
            if now >= at:
                self.blamed = lease_id
                return Need.STOP
        over = next((one for one in tasks if one.limit_s and now >= one.began_at + one.limit_s + KILL_AFTER_S), None)
        if over is None:
            self._asked_at = None
            return Need.NOTHING
        self.blamed, self.limit_s = over.lease_id, over.limit_s
        if self._asked_at is None:
            self._asked_at = now
            return Need.STACK
        return Need.KILL if self._page.stack or now >= self._asked_at + STACK_S else Need.NOTHING
