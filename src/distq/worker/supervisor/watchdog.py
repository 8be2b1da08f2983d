"""Decides by an executor's page whether the supervisor releases its waiting tasks, requests its stack, or kills it."""

from __future__ import annotations

from enum import Enum, auto
from typing import Final

from distq.worker.shared.batch_page import BatchPage, BatchPosition
from distq.worker.shared.lease_id import LeaseId
from distq.worker.shared.page import ExecutorPage
from distq.worker.shared.slots_page import SlotsPage

CHECK_S: Final = 0.125
"""Seconds between two checks of an executor."""
REVOKE_AFTER_S: Final = 0.3
"""Seconds that the running task of a batch may take before the supervisor releases the tasks behind it."""
KILL_AFTER_S: Final = 2.0
"""Seconds from the exception in a task, at its time limit or when it is stopped, until its executor is killed."""
STACK_S: Final = 1.0
"""Maximum seconds for the executor to write its stack."""
EXIT_AFTER_S: Final = 10.0
"""Maximum seconds from the last settlement of an executor to its exit: tear-downs, exit hooks, threads of libraries."""


class WatchdogAction(Enum):
    """What the supervisor must do with an executor."""

    NOTHING = auto()
    REVOKE = auto()
    """It releases the tasks of the batch that have not begun, so that other executors run them."""
    REQUEST_STACK = auto()
    """It has the executor write its stack, before it kills the executor."""
    KILL_LEAVING = auto()
    """It kills the executor, which has settled everything and cannot exit: a thread or an exit hook does not end."""
    KILL_OVER_LIMIT = auto()
    """It kills the executor, because its task has exceeded its time limit."""
    KILL_STOPPED = auto()
    """It kills the executor, because its task was stopped and has not ended within `KILL_AFTER_S`."""


class StackBeforeKill:
    """Has an executor write its stack before it is killed."""

    __slots__ = ("_page", "_requested_at")

    def __init__(self, page: ExecutorPage) -> None:
        self._page = page
        self._requested_at: float | None = None

    def forget(self) -> None:
        """Forget the request: the executor need not be killed any more."""
        self._requested_at = None

    def action(self, kill: WatchdogAction, now: float) -> WatchdogAction:
        """The request first; then `kill`, when the stack is written or `STACK_S` is over."""
        if self._requested_at is None:
            self._requested_at = now
            return WatchdogAction.REQUEST_STACK
        is_due = self._page.stack or now >= self._requested_at + STACK_S
        return kill if is_due else WatchdogAction.NOTHING


class LeavingWatchdog:
    """Checks an executor that has settled everything and must exit within `EXIT_AFTER_S`."""

    __slots__ = ("_leaving_since_at", "_page", "_stack")

    def __init__(self, page: ExecutorPage) -> None:
        self._page = page
        self._leaving_since_at: float | None = None
        self._stack = StackBeforeKill(page)

    def check(self, now: float) -> WatchdogAction | None:
        """What to do with the executor now; None if it is not leaving."""
        if not self._page.is_leaving:
            return None
        if self._leaving_since_at is None:
            self._leaving_since_at = now
        if now < self._leaving_since_at + EXIT_AFTER_S:
            return WatchdogAction.NOTHING
        return self._stack.action(WatchdogAction.KILL_LEAVING, now)


class Watchdog:
    """Checks an executor that runs one task at a time."""

    __slots__ = ("_kill_at", "_last_position", "_page", "_position_since_at", "_stack", "blamed", "limit_s")

    def __init__(self, page: BatchPage) -> None:
        self._page = page
        self.blamed: LeaseId | None = None
        """The task for which the executor is to be killed."""
        self.limit_s = 0.0
        """That task's time limit in seconds, if the task has exceeded it."""
        self._last_position = BatchPosition(0, -1)
        self._position_since_at = 0.0
        """When the executor was first seen at that position."""
        self._stack = StackBeforeKill(page)
        self._kill_at: float | None = None

    def stop(self, _lease_id: LeaseId, now: float) -> None:
        """Note that the running task was asked to stop: it has `KILL_AFTER_S` for that."""
        self._note_position(self._page.position, now)
        self._kill_at = now + KILL_AFTER_S

    def _note_position(self, position: BatchPosition, now: float) -> None:
        self._last_position, self._position_since_at, self._kill_at = position, now, None
        self._stack.forget()

    @property
    def only_task(self) -> LeaseId | None:
        """The task that alone has run since the last check; None if that is not known."""
        page, last = self._page, self._last_position
        position = page.position
        has_ended = position == BatchPosition(last.batch, -1) and last.started == len(page.held) - 1
        return self.blamed if position == last or has_ended else None

    def check(self, now: float) -> WatchdogAction:
        """What to do with the executor now."""
        page = self._page
        position = page.position
        if position != self._last_position:
            self._note_position(position, now)
        self.blamed = page.running
        if self._kill_at is not None and now >= self._kill_at:
            return WatchdogAction.KILL_STOPPED
        if position.started < 0:
            return WatchdogAction.NOTHING
        limit = page.limit
        if limit is not None and now >= limit.began_at + limit.limit_s + KILL_AFTER_S:
            self.limit_s = limit.limit_s
            return self._stack.action(WatchdogAction.KILL_OVER_LIMIT, now)
        is_long = now - self._position_since_at >= REVOKE_AFTER_S
        if is_long and not page.is_returned(position.batch) and page.unstarted(position):
            return WatchdogAction.REVOKE
        return WatchdogAction.NOTHING


class SlotsWatchdog:
    """Checks an executor that runs several tasks at the same time: to kill it for one task ends the others too."""

    __slots__ = ("_kill_at", "_page", "_stack", "blamed", "limit_s")

    def __init__(self, page: SlotsPage) -> None:
        self._page = page
        self.blamed: LeaseId | None = None
        """The task for which the executor is to be killed."""
        self.limit_s = 0.0
        """That task's time limit in seconds, if the task has exceeded it."""
        self._stack = StackBeforeKill(page)
        self._kill_at: dict[LeaseId, float] = {}
        """When the executor is killed for a task that was asked to stop and still runs."""

    def stop(self, lease_id: LeaseId, now: float) -> None:
        """Note that a task was asked to stop: it has `KILL_AFTER_S` for that."""
        self._kill_at.setdefault(lease_id, now + KILL_AFTER_S)

    def check(self, now: float) -> WatchdogAction:
        """What to do with the executor now."""
        tasks = list(self._page.slot_tasks())
        running = {task.lease_id for task in tasks}
        self._kill_at = {lease_id: at for lease_id, at in self._kill_at.items() if lease_id in running}
        for lease_id, at in self._kill_at.items():
            if now >= at:
                self.blamed = lease_id
                return WatchdogAction.KILL_STOPPED
        over = next((one for one in tasks if one.limit_s and now >= one.began_at + one.limit_s + KILL_AFTER_S), None)
        if over is None:
            self._stack.forget()
            return WatchdogAction.NOTHING
        self.blamed, self.limit_s = over.lease_id, over.limit_s
        return self._stack.action(WatchdogAction.KILL_OVER_LIMIT, now)
