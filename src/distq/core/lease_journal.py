"""The journal of leases: it selects the leases that the store keeps, which are older than a second.

The lease of a task that runs for milliseconds costs no write. A task that runs for hours survives a restart of the
master without running twice: its executor reclaims it when it reconnects.
"""

from collections import Counter, deque
from typing import Final

from distq.core.counters import OTHER
from distq.core.states import LEASED
from distq.core.task import Task

STORED_AFTER_S: Final = 1.0
"""Age in seconds from which on the master stores a lease, so that short tasks cost no extra write."""
POOLS_COUNTED_MAX: Final = 100
"""Maximum pools with their own count of expired leases; further pools share the count OTHER, to limit the metrics."""


class LeaseJournal:
    """Leases by the instant at which they were given; leases that have ended are dropped when they are due."""

    __slots__ = ("_given", "expired")

    def __init__(self) -> None:
        self.expired: Counter[str] = Counter()
        """Number of leases that expired because no heartbeat renewed them, by pool."""
        self._given: deque[tuple[float, list[Task]]] = deque()

    def add(self, at: float, tasks: list[Task]) -> None:
        """Add tasks that were leased together at `at`."""
        self._given.append((at, tasks))

    def count_expired(self, pool: str, count: int) -> None:
        """Count leases of a worker of this pool that expired because no heartbeat renewed them."""
        known = pool in self.expired or len(self.expired) < POOLS_COUNTED_MAX
        self.expired[pool if known else OTHER] += count

    def due(self, now: float) -> list[Task]:
        """Remove the leases that are at least STORED_AFTER_S old; returns the tasks that still have them."""
        held: list[Task] = []
        given = self._given
        while given and given[0][0] + STORED_AFTER_S <= now:
            at, tasks = given.popleft()
            held += [task for task in tasks if task.state == LEASED and task.leased_at == at]
        return held

    def next_at(self) -> float | None:
        """When the next lease is due, None if there is none."""
        given = self._given
        while given:
            at, tasks = given[0]
            while tasks and not (tasks[-1].state == LEASED and tasks[-1].leased_at == at):
                tasks.pop()
            if tasks:
                return at + STORED_AFTER_S
            given.popleft()
        return None
