"""One heap of moments at which something is due; entries that no longer hold are dropped when they come up."""

import heapq
from collections.abc import Iterator
from typing import Generic, TypeVar

Thing = TypeVar("Thing")


class Deadlines(Generic[Thing]):
    """Things by the time they are due. O(log n) to add, O(1) to ask for the next."""

    __slots__ = ("_count", "_heap")

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Thing]] = []
        self._count = 0

    def __len__(self) -> int:
        return len(self._heap)

    def add(self, at: float, thing: Thing) -> None:
        """Have `thing` come up at `at` (seconds of the master's clock)."""
        self._count += 1
        heapq.heappush(self._heap, (at, self._count, thing))

    def next_at(self) -> float | None:
        """When the next thing is due, None if nothing is."""
        return self._heap[0][0] if self._heap else None

    def due(self, now: float) -> Iterator[tuple[float, Thing]]:
        """Take out, one by one and oldest first, what is due at `now`."""
        while self._heap and self._heap[0][0] <= now:
            at, _, thing = heapq.heappop(self._heap)
            yield at, thing
