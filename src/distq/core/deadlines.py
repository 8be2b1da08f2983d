"""One heap of moments at which something is due; entries that no longer hold are dropped when they come up."""

import heapq
from collections.abc import Callable, Iterator
from typing import Final, Generic, TypeVar

Thing = TypeVar("Thing")

STALE_MAX: Final = 1_000
"""So many entries that no longer hold may wait for their moment before they are cleared away."""
CLEARED_MIN: Final = 100
"""The fewest entries that are looked through for those that no longer hold."""


class Deadlines(Generic[Thing]):
    """Things by the time they are due. O(log n) to add, O(1) to ask for the next, amortised O(1) to leave.

    Args:
        holds: whether what was to be due at a moment still is; all is without it.
    """

    __slots__ = ("_clear_at", "_count", "_heap", "_holds", "_left")

    def __init__(self, holds: Callable[[float, Thing], bool] | None = None) -> None:
        self._heap: list[tuple[float, int, Thing]] = []
        self._count = 0
        self._holds = holds
        self._left = 0
        self._clear_at = CLEARED_MIN
        """How many entries there are when those are cleared away that no longer hold."""

    def __len__(self) -> int:
        return len(self._heap)

    def add(self, at: float, thing: Thing, *, clear: bool = False) -> None:
        """Have `thing` come up at `at` (seconds of the master's clock).

        `clear` lets go first of what no longer holds, once in a while: for owners who do not call `left`.
        """
        if clear and len(self._heap) >= self._clear_at:
            self._clear()
        self._count += 1
        heapq.heappush(self._heap, (at, self._count, thing))

    def discard_one(self) -> None:
        """One entry holds no more; once they are the greater part, they go."""
        self._left += 1
        if self._left > max(len(self._heap) // 2, STALE_MAX):
            self._clear()

    def _clear(self) -> None:
        """Drop what holds no more; next when there are twice as many entries as are left, so that it costs little."""
        holds = self._holds
        if holds is not None:
            self._heap = [entry for entry in self._heap if holds(entry[0], entry[2])]
            heapq.heapify(self._heap)
            self._left = 0
        self._clear_at = max(2 * len(self._heap), CLEARED_MIN)

    def things(self) -> list[Thing]:
        """All that has a deadline here, in no order."""
        return [thing for _, _, thing in self._heap]

    def shift(self, by_s: float, concerns: Callable[[Thing], bool]) -> None:
        """Move the deadlines of some things: the clock was set, and what has to last a certain time still does."""
        self._heap = [(at + by_s if concerns(thing) else at, count, thing) for at, count, thing in self._heap]
        heapq.heapify(self._heap)

    def next_at(self) -> float | None:
        """When the next thing is due, None if nothing is."""
        return self._heap[0][0] if self._heap else None

    def due(self, now: float) -> Iterator[tuple[float, Thing]]:
        """Take out, one by one and oldest first, what is due at `now` and holds."""
        while self._heap and self._heap[0][0] <= now:
            at, _, thing = heapq.heappop(self._heap)
            if self._holds is None or self._holds(at, thing):
                yield at, thing
            elif self._left:
                self._left -= 1
