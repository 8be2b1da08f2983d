"""The connected workers as a `distq.core.demand.Placement`: a snapshot for one answer or one scrape.

A snapshot costs one pass over the executors; it examines no waiting task.
"""

from __future__ import annotations

import sys
from functools import cached_property
from typing import TYPE_CHECKING, Final, NamedTuple

from distq.core.option_values import PLAIN
from distq.core.queue import WORK

if TYPE_CHECKING:
    from distq.core.queue import Queue
    from distq.core.ready_list import PriorityList
    from distq.core.task import Task
    from distq.master.sessions.worker_session import WorkerSession
    from distq.master.sessions.workers import Workers

PROBE: Final = 1
"""Tasks of each kind that count as demand although no connected worker can run them: enough for a pool with no worker
to start one, which then shows whether it can run them."""


class _Serving(NamedTuple):
    """The workers that serve one queue and are not draining."""

    sessions: list[WorkerSession]
    """The workers, ordered by how many task names they do not know, the fewest first."""
    fits: dict[tuple[frozenset[str], int], bool]
    """Whether one of the workers has these labels and at least this number of slots; filled at first use."""


class ConnectedWorkers:
    """A `Placement` of the connected workers."""

    def __init__(self, workers: Workers, *, costly: bool, now: float) -> None:
        self._workers = workers
        self._sessions = [one for one in workers.sessions.values() if not one.draining]
        self._costly = costly
        self._now = now
        self._serving: dict[Queue[Task] | None, _Serving] = {}
        self._named = {queue for one in self._sessions for queue in one.queues or ()}

    def extra_slots(self, queue: Queue[Task]) -> int:  # noqa: D102 - as Placement
        return self._extra.get(queue, 0) if self._costly else 0

    def longest_run_s(self, queue: Queue[Task]) -> float:  # noqa: D102
        return self._longest.get(queue, 0.0)

    def most(self, queue: Queue[Task], ready_list: PriorityList[Task]) -> int:  # noqa: D102
        serving = self._of(queue)
        if not serving.sessions:
            return PROBE if ready_list.name in self._workers.unknown_names else sys.maxsize
        if ready_list.name == PLAIN:
            return sys.maxsize if any(one.plain for one in serving.sessions) else PROBE
        if all(ready_list.name in one.unknown for one in serving.sessions):
            return 0
        key = ready_list.requires, ready_list.cost
        if key not in serving.fits:
            serving.fits[key] = any(
                one.tasks and ready_list.requires <= one.labels and ready_list.cost <= one.slots
                for one in serving.sessions
            )
        return sys.maxsize if serving.fits[key] else PROBE

    def _of(self, queue: Queue[Task]) -> _Serving:
        # The workers that serve all work queues serve alike every work queue that no worker names.
        key = queue if queue in self._named or queue.role != WORK else None
        found = self._serving.get(key)
        if found is None:
            sessions = [one for one in self._sessions if one.serves(queue)]
            sessions.sort(key=lambda one: len(one.unknown))
            found = self._serving[key] = _Serving(sessions, {})
        return found

    @cached_property
    def _extra(self) -> dict[Queue[Task], int]:
        extra: dict[Queue[Task], int] = {}
        for session in self._workers.sessions.values():
            for executor in session.executors.values():
                for task in executor.held.values():
                    queue = task.envelope.queue
                    extra[queue] = extra.get(queue, 0) + task.envelope.cost - 1
        return extra

    @cached_property
    def _longest(self) -> dict[Queue[Task], float]:
        """By queue, the longest run so far of the first task of each executor: its later tasks may not have begun."""
        longest: dict[Queue[Task], float] = {}
        for session in self._workers.sessions.values():
            for executor in session.executors.values():
                task = next(iter(executor.held.values()), None)
                if task is not None:
                    queue = task.envelope.queue
                    longest[queue] = max(longest.get(queue, 0.0), self._now - task.leased_at)
        return longest
