"""What a supervisor sees of an executor from look to look, and what is to be done about it: decided purely."""

from enum import Enum, auto
from typing import Final

from distq.worker.word import Place, Word

LOOK_S: Final = 0.125
LONG_S: Final = 0.3
"""A task that has run for so long keeps nobody waiting behind it."""
HARD_S: Final = 2.0
"""How long a task may go on after its time limit, or the order to stop, was raised in it, before it is killed."""
STACK_S: Final = 1.0
"""How long the executor may take to leave its stack."""


class Need(Enum):
    """What an executor needs."""

    NOTHING = auto()
    REVOKE = auto()
    """Take back what it has not begun."""
    STACK = auto()
    """Ask it for its stack: its task is to be killed."""
    KILL = auto()
    STOP = auto()
    """End it: its task was told to stop, and has not."""


class Watch:
    """The looks at one executor."""

    __slots__ = ("_asked_at", "_seen", "_since", "_stop_at")

    def __init__(self) -> None:
        self._seen = Place(0, -1)
        self._since = 0.0
        self._asked_at: float | None = None
        self._stop_at: float | None = None

    def stop(self, word: Word, now: float) -> None:
        """The task that runs was told to stop: it has a moment to do so."""
        self._seen, self._since, self._asked_at = word.place, now, None
        self._stop_at = now + HARD_S

    def look(self, word: Word, now: float) -> Need:
        """What it needs now."""
        place = word.place
        if place != self._seen:
            self._seen, self._since, self._asked_at, self._stop_at = place, now, None, None
        if self._stop_at is not None and now >= self._stop_at:
            return Need.STOP
        if place.started < 0:
            return Need.NOTHING
        limit = word.limit
        if limit is not None and now >= limit.began_s + limit.limit_s + HARD_S:
            if self._asked_at is None:
                self._asked_at = now
                return Need.STACK
            return Need.KILL if word.stack or now >= self._asked_at + STACK_S else Need.NOTHING
        if now - self._since >= LONG_S and not word.is_returned(place.batch) and word.unstarted(place):
            return Need.REVOKE
        return Need.NOTHING
