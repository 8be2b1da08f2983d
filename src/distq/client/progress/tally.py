"""Counts the futures of one bar: those that have ended, and how."""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future
from typing import Any, Final, NamedTuple, Protocol

from distq.client.future_state import FutureState
from distq.tasks.current import Progress

AnyFuture = FutureState[Any] | Future[Any]
"""A future of a task, or one of another executor."""
REPORTS_MAX: Final = 20
"""Maximum tasks, the oldest ones, whose own progress a bar shows: the client asks the master once for each."""


class CallCounts(NamedTuple):
    """How far the tasks of a bar are."""

    ended: int
    """Calls whose task has ended; `failed` and `cancelled` are parts of it."""
    failed: int
    cancelled: int
    total: int | None
    """All calls; None while the client takes calls from iterables of unknown length."""
    running: float = 0.0
    """Sum of the fractions that running tasks have reported."""
    text: str = ""
    """The text that the oldest running task has reported."""

    @property
    def fraction(self) -> float | None:
        """How much is done, from 0.0 to 1.0; None if the number of calls is unknown."""
        if self.total is None:
            return None
        return min((self.ended + self.running) / self.total, 1.0) if self.total else 1.0


class Tally:
    """Counts futures; one thread adds them, another one counts. A future is released when it was counted as ended."""

    def __init__(self, total: int | None) -> None:
        self.total = total
        self.reports: list[Progress] = []
        """What running tasks have reported."""
        self._added: deque[tuple[AnyFuture, int]] = deque()
        self._left: list[tuple[AnyFuture, int]] = []
        self._ended = self._failed = self._cancelled = self._submitted = 0

    def add(self, future: AnyFuture, calls: int = 1) -> None:
        """Count a further future, the task of which has that many calls."""
        self._submitted += calls
        self._added.append((future, calls))

    def complete(self) -> None:
        """Note that no future follows: the number of calls is known now."""
        self.total = self._submitted

    def count(self) -> CallCounts:
        """Count the futures; takes time in proportion to those that have not ended."""
        while self._added:
            self._left.append(self._added.popleft())
        left = []
        for future, calls in self._left:
            if not has_ended(future):
                left.append((future, calls))
                continue
            self._ended += calls
            if _is_cancelled(future):
                self._cancelled += calls
            elif _has_failed(future):
                self._failed += calls
        self._left = left
        reports = self.reports
        text = next((report.text for report in reports if report.text), "")
        running = sum(report.fraction for report in reports)
        return CallCounts(self._ended, self._failed, self._cancelled, self.total, running, text)


class Countable(Protocol):
    """What counts the calls of a bar."""

    def count(self) -> CallCounts:
        """Count the calls."""
        ...


def has_ended(future: AnyFuture) -> bool:
    """Whether a future has its outcome; `done()` of a task's future would make a lock for it."""
    return future.has_ended if isinstance(future, FutureState) else future.done()


def _is_cancelled(future: AnyFuture) -> bool:
    return future.is_cancelled if isinstance(future, FutureState) else future.cancelled()


def _has_failed(future: AnyFuture) -> bool:
    return future.has_failed if isinstance(future, FutureState) else future.exception() is not None
