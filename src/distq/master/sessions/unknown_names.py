"""Names of tasks that a worker has handed back: it is asked again after a while, more and more rarely.

A module of tasks may fail to be imported because a database is away, or be installed a minute later; a name that is
gone for good must cost next to nothing.
"""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING, Final

from distq.master.cycle.requests import Request

if TYPE_CHECKING:
    from distq.master.cycle.requests import Cycle

AGAIN_S: Final = 2.0
"""A worker is given a name that it has handed back once more after this pause; the pause doubles each time."""
AGAIN_MAX_S: Final = 300.0
LOOK_S: Final = 1.0
AT_ONCE: Final = 50
"""Names that one worker is given once more within LOOK_S; the others wait for the next look."""
TRIES_MAX: Final = 10_000
"""Names whose number of tries is remembered; beyond it all begin anew."""


class UnknownNames(set[str]):
    """The names that one worker does not know now."""

    __slots__ = ("_due", "_tries")

    def __init__(self) -> None:
        super().__init__()
        self._due: list[tuple[float, str]] = []
        self._tries: dict[str, int] = {}

    def hand_back(self, name: str, now: float) -> bool:
        """The worker has handed that name back; whether it is the first that waits to be tried again."""
        if name in self:
            return False
        self.add(name)
        if len(self._tries) >= TRIES_MAX:
            self._tries.clear()
        tries = self._tries[name] = self._tries.get(name, 0) + 1
        heapq.heappush(self._due, (now + min(AGAIN_S * 2 ** min(tries - 1, 10), AGAIN_MAX_S), name))
        return len(self._due) == 1

    def end(self) -> None:
        """The worker has gone."""
        self.clear()
        self._due.clear()

    @property
    def wait(self) -> bool:
        """Whether some wait to be tried again."""
        return bool(self._due)

    def try_again(self, now: float) -> list[str]:
        """Forget names whose pause is over; which those are."""
        names: list[str] = []
        while len(names) < AT_ONCE and self._due and self._due[0][0] <= now:
            names.append(heapq.heappop(self._due)[1])
            self.discard(names[-1])
        return names


class RetryUnknownNames(Request):
    """Due every LOOK_S while a worker has names to be tried again: the cycle then offers it what waits for them."""

    __slots__ = ("names",)

    def __init__(self, names: UnknownNames) -> None:
        super().__init__()
        self.names = names

    def answer(self, cycle: Cycle, now: float) -> None:  # noqa: D102 - as Request
        names = self.names.try_again(now)
        cycle.ledger.leasing.readmit(names)
        if names:
            cycle.wake()  # workers that wait are served before this is answered: another cycle offers them those
        if self.names.wait:
            cycle.ask_at(now + LOOK_S, self)


def try_again_later(cycle: Cycle, names: UnknownNames, name: str, now: float) -> None:
    """A worker has handed back a task for want of such a function."""
    if names.hand_back(name, now):
        cycle.ask_at(now + LOOK_S, RetryUnknownNames(names))
