"""Who waits for a task: takes parked by the queues that they serve, first come first served."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import TYPE_CHECKING

from distq.core.queue import WORK, Queue

if TYPE_CHECKING:
    from distq.master.requests import Take


class Waiting:
    """Parked takes. Those of no particular queue serve every work queue."""

    def __init__(self) -> None:
        self._of_queue: dict[Queue, dict[Take, None]] = {}
        self._anywhere: dict[Take, None] = {}
        self._queues: dict[Take, tuple[Queue, ...] | None] = {}

    def __len__(self) -> int:
        return len(self._queues)

    def add(self, take: Take, queues: tuple[Queue, ...] | None) -> None:
        """Park a take for these queues, None for all work queues."""
        self._queues[take] = queues
        if queues is None:
            self._anywhere[take] = None
        else:
            for queue in queues:
                self._of_queue.setdefault(queue, {})[take] = None

    def remove(self, take: Take) -> None:
        """Forget a take; one that is not parked is no error."""
        if take not in self._queues:
            return
        queues = self._queues.pop(take)
        if queues is None:
            del self._anywhere[take]
            return
        for queue in queues:
            waiting = self._of_queue[queue]
            del waiting[take]
            if not waiting:
                del self._of_queue[queue]

    def all(self) -> list[Take]:
        """Everybody who waits."""
        return list(self._queues)

    def of(self, queue: Queue) -> Iterator[Take]:
        """Everybody who would take from this queue, the one that waits longest first in its group."""
        return chain(self._of_queue.get(queue, ()), self._anywhere if queue.role == WORK else ())
