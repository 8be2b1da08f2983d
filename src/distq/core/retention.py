"""Ended tasks whose results are kept until their TTL is over."""

from collections import deque
from collections.abc import Iterator
from heapq import heappop, heappush, heapreplace
from itertools import count

from distq.core.task import Task


class RetainedResults:
    """The retained tasks: a deque for each TTL, in the order of the tasks' ends, and a heap of the deques.

    To add a task and to drop the oldest is O(1) with few TTLs, and O(log n) if every task has its own TTL.
    """

    __slots__ = ("_by_ttl", "_heads", "_numbers")

    def __init__(self) -> None:
        self._by_ttl: dict[float, deque[Task]] = {}
        self._heads: list[tuple[float, int, float]] = []
        """When the first task of a deque is due, or earlier; a number unique among entries; the deque's TTL."""
        self._numbers = count()

    def add(self, task: Task) -> None:
        """Keep an ended task for its envelope's TTL.

        A task may be added later than it ended, because its followers needed its result. It is then dropped together
        with tasks that end now: up to a TTL too late, but never too early.
        """
        ttl_s = task.envelope.result_ttl_s
        tasks = self._by_ttl.get(ttl_s)
        if tasks is None:
            tasks = self._by_ttl[ttl_s] = deque()
            heappush(self._heads, (task.state_since_at + ttl_s, next(self._numbers), ttl_s))
        tasks.append(task)

    def drop(self, task: Task) -> None:
        """Drop a task if it is the oldest of its TTL."""
        ttl_s = task.envelope.result_ttl_s
        tasks = self._by_ttl.get(ttl_s)
        if tasks and tasks[0] is task:
            tasks.popleft()
            if not tasks:
                del self._by_ttl[ttl_s]

    def expired(self, now: float, most: int) -> Iterator[Task]:
        """Tasks whose TTL is over, at most `most`, the oldest of each TTL first; each stays until `drop`."""
        due: list[tuple[float, int, float]] = []
        while len(due) < most and (at := self.next_at()) is not None and at <= now:
            due.append(heappop(self._heads))
        for entry in due:
            heappush(self._heads, entry)
        for _, _, ttl_s in due:
            for task, _ in zip(self._by_ttl[ttl_s], range(most), strict=False):
                if task.state_since_at + ttl_s > now:  # the same sum as in next_at, so that both round alike
                    break
                most -= 1
                yield task

    def next_at(self) -> float | None:
        """When the next task's TTL is over, None if no task is kept."""
        heads = self._heads
        while heads:
            at, number, ttl_s = heads[0]
            tasks = self._by_ttl.get(ttl_s)
            if tasks is None:
                heappop(heads)
            elif (first_at := tasks[0].state_since_at + ttl_s) > at:
                heapreplace(heads, (first_at, number, ttl_s))
            else:
                return first_at
        return None
