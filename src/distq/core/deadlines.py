"""A heap of instants at which something is due; stale entries are dropped when they are due."""

import heapq
from collections.abc import Callable, Iterator
from typing import Final, Generic, TypeVar

Thing = TypeVar("Thing")

STALE_MAX: Final = 1_000
"""Maximum stale entries that stay in the heap; above it they are dropped once they are more than half of all."""
CLEARED_MIN: Final = 100
"""Minimum entries before a search for stale ones, because fewer entries take little memory."""


class Deadlines(Generic[Thing]):
    """Things by the instant at which they are due. O(log n) to add, O(1) to read the next, amortised O(1) to discard.

    Args:
        is_valid: whether a thing is still due at an instant; without it no entry is ever stale.
    """

    __slots__ = ("_clear_at", "_count", "_heap", "_is_valid", "_stale_count")

    def __init__(self, is_valid: Callable[[float, Thing], bool] | None = None) -> None:
        self._heap: list[tuple[float, int, Thing]] = []
        self._count = 0
        self._is_valid = is_valid
        self._stale_count = 0
        self._clear_at = CLEARED_MIN
        """Number of entries at which `add` drops the stale ones."""

    def __len__(self) -> int:
        return len(self._heap)

    def add(self, at: float, item: Thing, *, clear: bool = False) -> None:
        """Add `thing`, due at `at` (seconds of the master's clock).

        `clear` drops stale entries when the heap has grown, for callers that do not call `discard_one`.
        """
        if clear and len(self._heap) >= self._clear_at:
            self._clear()
        self._count += 1
        heapq.heappush(self._heap, (at, self._count, item))

    def discard_one(self) -> None:
        """Count one entry that has become stale; once such entries are the greater part, they are dropped."""
        self._stale_count += 1
        if self._stale_count > max(len(self._heap) // 2, STALE_MAX):
            self._clear()

    def _clear(self) -> None:
        """Drop stale entries; `add` does so again at twice the number that stays, for a constant cost per entry."""
        is_valid = self._is_valid
        if is_valid is not None:
            self._heap = [entry for entry in self._heap if is_valid(entry[0], entry[2])]
            heapq.heapify(self._heap)
            self._stale_count = 0
        self._clear_at = max(2 * len(self._heap), CLEARED_MIN)

    def things(self) -> list[Thing]:
        """All things, in no order."""
        return [item for _, _, item in self._heap]

    def shift(self, by_s: float, concerns: Callable[[Thing], bool]) -> None:
        """Move the instants of the things that `concerns` selects, which wait for durations: the clock was set."""
        self._heap = [(at + by_s if concerns(item) else at, count, item) for at, count, item in self._heap]
        heapq.heapify(self._heap)

    def next_at(self) -> float | None:
        """When the next thing is due, None if there is none."""
        return self._heap[0][0] if self._heap else None

    def next_of(self, concerns: Callable[[Thing], bool]) -> float | None:
        """When the next thing that `concerns` selects is due, None if there is none; it reads every entry."""
        return min((at for at, _, item in self._heap if concerns(item)), default=None)

    def due(self, now: float) -> Iterator[tuple[float, Thing]]:
        """Take out the things that are due at `now`, the earliest first."""
        while self._heap and self._heap[0][0] <= now:
            at, _, item = heapq.heappop(self._heap)
            if self._is_valid is None or self._is_valid(at, item):
                yield at, item
            elif self._stale_count:
                self._stale_count -= 1
