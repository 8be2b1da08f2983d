"""Keeps the requests that wait for tasks, by the queues whose tasks they take."""

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
"""Waiting requests in the order in which they came."""


class WaitingRequests:
    """The waiting requests; a request that names no queue takes tasks of every work queue.

    Standard-library programs are served as `queue.Queue` serves them: the one that has waited longest comes first. Of
    the executors the one that has waited shortest comes first: it is still awake, its caches are warm, and under little
    load the same workers stay idle, so that an autoscaler can remove them.
    """

    def __init__(self) -> None:
        self._programs: dict[Queue[Task] | None, Parked] = {}
        self._executors: dict[Queue[Task] | None, Parked] = {}
        """Waiting requests by queue; None stands for every work queue."""
        self._queues: dict[LeaseRequest, tuple[Queue[Task] | None, ...]] = {}

    def __len__(self) -> int:
        return len(self._queues)

    def add(self, request: LeaseRequest, queues: tuple[Queue[Task], ...] | None) -> None:
        """Add a request that takes tasks of these queues; None means all work queues."""
        parked = self._parked(request)
        served = self._queues[request] = (None,) if queues is None else queues
        for queue in served:
            parked.setdefault(queue, {})[request] = None

    def remove(self, request: LeaseRequest) -> None:
        """Remove a request; it need not be here."""
        parked = self._parked(request)
        for queue in self._queues.pop(request, ()):
            del parked[queue][request]
            if not parked[queue]:
                del parked[queue]

    def _parked(self, request: LeaseRequest) -> dict[Queue[Task] | None, Parked]:
        return self._executors if request.may_come_back else self._programs

    def all(self) -> list[LeaseRequest]:
        """All waiting requests."""
        return list(self._queues)

    def wanted(self, queues: list[Queue[Task]]) -> list[Queue[Task]]:
        """Return those of the queues that a request may wait for: of 10,000 ready ones often none."""
        programs, executors = self._programs, self._executors
        if None in programs or None in executors:
            return queues
        return [queue for queue in queues if queue in executors or queue in programs]

    def of(self, queue: Queue[Task]) -> Iterator[LeaseRequest]:
        """The requests that take tasks of this queue, in the order in which they are served."""
        programs, executors = self._programs, self._executors
        if queue.role == WORK:
            return chain(
                programs.get(queue, ()),
                programs.get(None, ()),
                reversed(executors.get(queue, {})),
                reversed(executors.get(None, {})),
            )
        return chain(programs.get(queue, ()), reversed(executors.get(queue, {})))

    def lease(
        self, ledger: Ledger, queue: Queue[Task], served: list[tuple[LeaseRequest, list[Task]]], now: float
    ) -> None:
        """Lease a queue's ready tasks to the requests that wait for them; each lease is appended to `served`."""
        for request in self.of(queue):
            if not request.can_receive():
                continue
            tasks = ledger.leasing.lease(request.holder, (queue,), request.wanted, request.want, now)
            if tasks:
                served.append((request, tasks))
            if not queue.offers or (queue.policy.limits and not queue.allowance(now)):
                break
