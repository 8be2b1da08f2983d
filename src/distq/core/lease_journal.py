"""Leases that are to be stored once they are older than a second.

A task of milliseconds never costs a write for its lease, and a task of hours survives a restart of the master
without running twice: its executor names it when it comes back.
"""

from collections import Counter, deque
from typing import Final

from distq.core.counters import OTHER
from distq.core.states import LEASED
from distq.core.task import Task

STORED_AFTER_S: Final = 1.0
POOLS_COUNTED_MAX: Final = 100
"""Maximum pools whose expired leases are counted by themselves; beyond it those of further pools count as OTHER."""


class LeaseJournal:
    """Leases by the moment at which they were given; those that have ended meanwhile are dropped when they come up."""

    __slots__ = ("_given", "expired")

    def __init__(self) -> None:
        self.expired: Counter[str] = Counter()
        """How many have ended because no heartbeat renewed them, by pool."""
        self._given: deque[tuple[float, list[Task]]] = deque()

    def add(self, at: float, tasks: list[Task]) -> None:
        """Note tasks that were leased together at `at`."""
        self._given.append((at, tasks))

    def count_expired(self, pool: str, count: int) -> None:
        """Leases of a worker of that pool have ended because no heartbeat renewed them."""
        known = pool in self.expired or len(self.expired) < POOLS_COUNTED_MAX
        self.expired[pool if known else OTHER] += count

    def due(self, now: float) -> list[Task]:
        """Take out the tasks that are still held under leases older than a second."""
        held: list[Task] = []
        given = self._given
        while given and given[0][0] + STORED_AFTER_S <= now:
            at, tasks = given.popleft()
            held += [task for task in tasks if task.state == LEASED and task.leased_at == at]
        return held

    def next_at(self) -> float | None:
        """When the next ones are due, None if there are none."""
        given = self._given
        while given:
            at, tasks = given[0]
            while tasks and not (tasks[-1].state == LEASED and tasks[-1].leased_at == at):
                tasks.pop()
            if tasks:
                return at + STORED_AFTER_S
            given.popleft()
        return None
