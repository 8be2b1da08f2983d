"""Settled tasks whose results are kept until their TTL is over."""

from collections import deque
from collections.abc import Iterator

from distq.core.task import Task


class Kept:
    """Tasks by TTL, each line in order of its end: O(1) to add, to drop the oldest, and to ask for the next."""

    __slots__ = ("_lines",)

    def __init__(self) -> None:
        self._lines: dict[float, deque[Task]] = {}

    def add(self, task: Task) -> None:
        """Keep a task that has ended (`since`) for its envelope's TTL.

        One that is added later than it has ended, because others have needed its result, goes with those that end
        now: up to a TTL too late, and never too early.
        """
        ttl_s = task.envelope.result_ttl_s
        line = self._lines.get(ttl_s)
        if line is None:
            line = self._lines[ttl_s] = deque()
        line.append(task)

    def drop(self, task: Task) -> None:
        """Let go of a task if it is the oldest of its TTL."""
        ttl_s = task.envelope.result_ttl_s
        line = self._lines.get(ttl_s)
        if line and line[0] is task:
            line.popleft()
            if not line:
                del self._lines[ttl_s]

    def over(self, now: float, most: int) -> Iterator[Task]:
        """Those whose time is over, oldest first, at most `most` of each TTL; they stay until `drop`."""
        for ttl_s, line in self._lines.items():
            for task, _ in zip(line, range(most), strict=False):
                if task.since + ttl_s > now:  # the same sum as in next_at: rounding must not part them
                    break
                yield task

    def next_at(self) -> float | None:
        """When the next one's time is over, None if nothing is kept."""
        return min((line[0].since + ttl_s for ttl_s, line in self._lines.items()), default=None)
