"""Who waits for a task: takes parked by the queues that they serve."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import TYPE_CHECKING

from distq.core.queue import WORK, Queue

if TYPE_CHECKING:
    from distq.core.ledger import Ledger
    from distq.core.task import Task
    from distq.master.cycle.requests import LeaseRequest

Parked = dict["LeaseRequest", None]
"""Takes in the order in which they came."""


class WaitingRequests:
    """Parked takes. Those of no particular queue serve every work queue.

    Standard-library programs are served as `queue.Queue` would: who waits longest comes first. Of executors the one
    that waited shortest comes first: it is still awake, its caches are warm, and when there is little to do the
    others stay idle together (a worker that has nothing to do can be taken away).
    """

    def __init__(self) -> None:
        self._programs: dict[Queue | None, Parked] = {}
        self._executors: dict[Queue | None, Parked] = {}
        """By queue; None stands for every work queue."""
        self._queues: dict[LeaseRequest, tuple[Queue | None, ...]] = {}

    def __len__(self) -> int:
        return len(self._queues)

    def add(self, take: LeaseRequest, queues: tuple[Queue, ...] | None) -> None:
        """Park a take for these queues, None for all work queues."""
        parked = self._parked(take)
        served = self._queues[take] = (None,) if queues is None else queues
        for queue in served:
            parked.setdefault(queue, {})[take] = None

    def remove(self, take: LeaseRequest) -> None:
        """Forget a take; one that is not parked is no error."""
        parked = self._parked(take)
        for queue in self._queues.pop(take, ()):
            del parked[queue][take]
            if not parked[queue]:
                del parked[queue]

    def _parked(self, take: LeaseRequest) -> dict[Queue | None, Parked]:
        return self._executors if take.may_come_back else self._programs

    def all(self) -> list[LeaseRequest]:
        """Everybody who waits."""
        return list(self._queues)

    def of(self, queue: Queue) -> Iterator[LeaseRequest]:
        """Everybody who would take from this queue, in the order in which they are to be served."""
        programs, executors = self._programs, self._executors
        if queue.role == WORK:
            return chain(
                programs.get(queue, ()),
                programs.get(None, ()),
                reversed(executors.get(queue, {})),
                reversed(executors.get(None, {})),
            )
        return chain(programs.get(queue, ()), reversed(executors.get(queue, {})))

    def lease(self, ledger: Ledger, queue: Queue, served: list[tuple[LeaseRequest, list[Task]]], now: float) -> None:
        """Lease a queue's ready tasks to those who wait for them, in their order; `served` grows by who got which."""
        for take in self.of(queue):
            if not take.there():
                continue
            tasks = ledger.leasing.lease(take.holder, (queue,), take.wanted, take.want, now)
            if tasks:
                served.append((take, tasks))
            if not queue.offers or (queue.policy.limits and not queue.allowance(now)):
                break
