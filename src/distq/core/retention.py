"""Settled tasks whose results are kept until their TTL is over."""

from collections import deque
from collections.abc import Iterator
from heapq import heappop, heappush, heapreplace
from itertools import count

from distq.core.task import Task


class RetainedResults:
    """Tasks by TTL, each line in order of its end, and a heap of the lines: every task may have a TTL of its own.

    O(1) to add and to drop the oldest where TTLs are few, O(log n) where they are many.
    """

    __slots__ = ("_heads", "_lines", "_numbers")

    def __init__(self) -> None:
        self._lines: dict[float, deque[Task]] = {}
        self._heads: list[tuple[float, int, float]] = []
        """When the first of a line is over, at the latest; a number that no two entries have; the line's TTL."""
        self._numbers = count()

    def add(self, task: Task) -> None:
        """Keep a task that has ended (`since`) for its envelope's TTL.

        One that is added later than it has ended, because others have needed its result, goes with those that end
        now: up to a TTL too late, and never too early.
        """
        ttl_s = task.envelope.result_ttl_s
        line = self._lines.get(ttl_s)
        if line is None:
            line = self._lines[ttl_s] = deque()
            heappush(self._heads, (task.state_since_at + ttl_s, next(self._numbers), ttl_s))
        line.append(task)

    def drop(self, task: Task) -> None:
        """Let go of a task if it is the oldest of its TTL."""
        ttl_s = task.envelope.result_ttl_s
        line = self._lines.get(ttl_s)
        if line and line[0] is task:
            line.popleft()
            if not line:
                del self._lines[ttl_s]

    def expired(self, now: float, most: int) -> Iterator[Task]:
        """At most `most` of those whose time is over, the oldest of each TTL first; they stay until `drop`."""
        due: list[tuple[float, int, float]] = []
        while len(due) < most and (at := self.next_at()) is not None and at <= now:
            due.append(heappop(self._heads))
        for entry in due:
            heappush(self._heads, entry)
        for _, _, ttl_s in due:
            for task, _ in zip(self._lines[ttl_s], range(most), strict=False):
                if task.state_since_at + ttl_s > now:  # the same sum as in next_at: rounding must not part them
                    break
                most -= 1
                yield task

    def next_at(self) -> float | None:
        """When the next one's time is over, None if nothing is kept."""
        heads = self._heads
        while heads:
            at, number, ttl_s = heads[0]
            line = self._lines.get(ttl_s)
            if line is None:
                heappop(heads)
            elif (first_at := line[0].state_since_at + ttl_s) > at:
                heapreplace(heads, (first_at, number, ttl_s))
            else:
                return first_at
        return None
