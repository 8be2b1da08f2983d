"""What a supervisor sees of an executor from look to look, and what is to be done about it: decided purely."""

from __future__ import annotations

from enum import Enum, auto
from typing import Final

from distq.worker.shared.batch_page import BatchPage, BatchPosition
from distq.worker.shared.page import ExecutorPage
from distq.worker.shared.slots_page import SlotsPage

CHECK_S: Final = 0.125
LONG_S: Final = 0.3
"""A task that has run for so long keeps nobody waiting behind it."""
HARD_S: Final = 2.0
"""How long a task may go on after its time limit, or the order to stop, was raised in it, before it is killed."""
STACK_S: Final = 1.0
"""How long the executor may take to leave its stack."""


LEAVE_S: Final = 10.0
"""How long an executor that has settled everything may take to end: tear-downs, exit hooks, threads of libraries."""


class Need(Enum):
    """What an executor needs."""

    NOTHING = auto()
    REVOKE = auto()
    """Take back what it has not begun."""
    STACK = auto()
    """Ask it for its stack: its task is to be killed."""
    END = auto()
    """End it: it has done its work, and something that its tasks have left keeps it from ending."""
    KILL = auto()
    STOP = auto()
    """End it: its task was told to stop, and has not."""


class Leaving:
    """The looks at the end of an executor: from when on it leaves, and when it was asked for its stack."""

    __slots__ = ("_asked_at", "_since")

    def __init__(self) -> None:
        self._since: float | None = None
        self._asked_at: float | None = None

    def check(self, page: ExecutorPage, now: float) -> Need | None:
        """What it needs now; None if it is not leaving."""
        if not page.is_leaving:
            return None
        if self._since is None:
            self._since = now
        if now < self._since + LEAVE_S:
            return Need.NOTHING
        if self._asked_at is None:
            self._asked_at = now
            return Need.STACK
        return Need.END if page.stack or now >= self._asked_at + STACK_S else Need.NOTHING


class Watchdog:
    """The looks at an executor that runs one task at a time."""

    __slots__ = ("_asked_at", "_page", "_seen", "_since", "_stop_at", "blamed", "limit_s")

    def __init__(self, word: BatchPage) -> None:
        self._page = word
        self.blamed: tuple[int, int] | None = None
        """The task, and its delivery, for which the executor is to be killed, and ..."""
        self.limit_s = 0.0
        """... its time limit in seconds, if it is because of that."""
        self._seen = BatchPosition(0, -1)
        self._since = 0.0
        self._asked_at: float | None = None
        self._stop_at: float | None = None

    def stop(self, _delivery: tuple[int, int], now: float) -> None:
        """The task that runs was told to stop: it has a moment to do so."""
        self._seen, self._since, self._asked_at = self._page.place, now, None
        self._stop_at = now + HARD_S

    @property
    def only_task(self) -> tuple[int, int] | None:
        """The task, and its delivery, that has run alone since the last look; None if that is not known."""
        word, seen = self._page, self._seen
        place = word.place
        has_ended = place == BatchPosition(seen.batch, -1) and seen.started == len(word.held) - 1
        return self.blamed if place == seen or has_ended else None

    def check(self, now: float) -> Need:
        """What it needs now."""
        word = self._page
        place = word.place
        if place != self._seen:
            self._seen, self._since, self._asked_at, self._stop_at = place, now, None, None
        self.blamed = word.running
        if self._stop_at is not None and now >= self._stop_at:
            return Need.STOP
        if place.started < 0:
            return Need.NOTHING
        limit = word.limit
        if limit is not None and now >= limit.began_at + limit.limit_s + HARD_S:
            self.limit_s = limit.limit_s
            if self._asked_at is None:
                self._asked_at = now
                return Need.STACK
            return Need.KILL if word.stack or now >= self._asked_at + STACK_S else Need.NOTHING
        if now - self._since >= LONG_S and not word.is_returned(place.batch) and word.unstarted(place):
            return Need.REVOKE
        return Need.NOTHING


class SlotsWatchdog:
    """The looks at an executor that runs several tasks at once: one that must be killed takes the others with it."""

    __slots__ = ("_asked_at", "_page", "_stops", "blamed", "limit_s")

    def __init__(self, board: SlotsPage) -> None:
        self._page = board
        self.blamed: tuple[int, int] | None = None
        self.limit_s = 0.0
        self._asked_at: float | None = None
        self._stops: dict[tuple[int, int], float] = {}

    def stop(self, delivery: tuple[int, int], now: float) -> None:
        """A task was told to stop: it has a moment to do so."""
        self._stops.setdefault(delivery, now + HARD_S)

    def check(self, now: float) -> Need:
        """What it needs now."""
        seated = list(self._page.slot_task())
        running = {one.delivery for one in seated}
        self._stops = {delivery: at for delivery, at in self._stops.items() if delivery in running}
        for delivery, at in self._stops.items():
            if now >= at:
                self.blamed = delivery
                return Need.STOP
        over = next((one for one in seated if one.limit_s and now >= one.began_at + one.limit_s + HARD_S), None)
        if over is None:
            self._asked_at = None
            return Need.NOTHING
        self.blamed, self.limit_s = over.delivery, over.limit_s
        if self._asked_at is None:
            self._asked_at = now
            return Need.STACK
        return Need.KILL if self._page.stack or now >= self._asked_at + STACK_S else Need.NOTHING
