"""Task names that a worker does not know: the master offers them to it again, after longer and longer pauses.

A worker may fail to import a module of tasks while a database is down, or the module may be installed a minute later.
A name that the worker never learns must cost almost nothing.
"""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING, Final

from distq.master.cycle.requests import Request

if TYPE_CHECKING:
    from distq.master.cycle.requests import Cycle

NAME_RETRY_S: Final = 2.0
"""Seconds until a worker is offered a name again after it first released such a task; the pause doubles each time."""
NAME_RETRY_MAX_S: Final = 300.0
"""Maximum seconds of that pause, so that a worker that has learned the name runs its tasks again."""
CHECK_S: Final = 1.0
"""Seconds between two checks for names whose pause is over."""
NAMES_PER_CHECK: Final = 50
"""Maximum names that one worker is offered again within `CHECK_S`; the others wait for the next check."""
UNKNOWN_SHOWN: Final = 5
"""Maximum names in a worker's row of tasks that it does not know; the row has their number, too."""
TRIES_MAX: Final = 10_000
"""Maximum names whose tries are counted, to limit memory; beyond it all counts start again."""


class UnknownNames(dict[str, str]):
    """The task names that one worker does not know at present, each with the reason that the worker gave."""

    __slots__ = ("_due", "_tries")

    def __init__(self) -> None:
        super().__init__()
        self._due: list[tuple[float, str]] = []
        self._tries: dict[str, int] = {}

    def add_unknown(self, name: str, why: str, now: float) -> bool:
        """Add a name of which the worker released a task; return whether no other one waits to be tried again."""
        is_waiting = name in self
        self[name] = why
        if is_waiting:
            return False
        if len(self._tries) >= TRIES_MAX:
            self._tries.clear()
        tries = self._tries[name] = self._tries.get(name, 0) + 1
        heapq.heappush(self._due, (now + min(NAME_RETRY_S * 2 ** min(tries - 1, 10), NAME_RETRY_MAX_S), name))
        return len(self._due) == 1

    def end(self) -> None:
        """Forget all names that wait: the worker's session has ended."""
        self.clear()
        self._due.clear()

    @property
    def has_waiting(self) -> bool:
        """Whether a name waits to be tried again."""
        return bool(self._due)

    def try_again(self, now: float) -> list[str]:
        """Remove up to `NAMES_PER_CHECK` names whose pause is over, and return them."""
        names: list[str] = []
        while len(names) < NAMES_PER_CHECK and self._due and self._due[0][0] <= now:
            names.append(heapq.heappop(self._due)[1])
            self.pop(names[-1], None)
        return names


class RetryUnknownNames(Request):
    """Due every `CHECK_S` while a worker has names to try again: the cycle then offers the worker their tasks."""

    __slots__ = ("names",)

    def __init__(self, names: UnknownNames) -> None:
        super().__init__()
        self.names = names

    def answer(self, cycle: Cycle, now: float) -> None:  # noqa: D102 - as Request
        names = self.names.try_again(now)
        cycle.ledger.leasing.readmit(names)
        if names:
            cycle.wake()  # this cycle has served the waiting workers already: another one offers the tasks
        if self.names.has_waiting:
            cycle.ask_at(now + CHECK_S, self)


def try_again_later(cycle: Cycle, names: UnknownNames, name: str, why: str, now: float) -> None:
    """Note that a worker released a task because it has no function of that name; have it tried again later."""
    if names.add_unknown(name, why, now):
        cycle.ask_at(now + CHECK_S, RetryUnknownNames(names))
