"""The request of `distq top`: the master's totals, and a page of its queues, workers, running tasks or dead letters.

A reply has only the rows that fit the caller's screen. A search of 10,000 queues takes several cycles, so that it
delays no other request.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from heapq import nsmallest
from itertools import chain, islice
from typing import TYPE_CHECKING, Any, Final

from distq.core.states import DEAD, DELAYED, HELD, LEASED, READY
from distq.master.admin.dead_letter_filter import learn
from distq.master.admin.dead_letters import row as dead_row
from distq.master.admin.task_list import row_of, text_in
from distq.master.cycle.requests import CallRequest
from distq.master.sessions.unknown_names import UNKNOWN_SHOWN
from distq.wire.errors import BadCall
from distq.wire.messages import returned

if TYPE_CHECKING:
    from distq.core.queue import Queue
    from distq.core.task import Task
    from distq.master.cycle.requests import Cycle
    from distq.master.sessions.worker_session import WorkerSession
    from distq.master.sessions.workers import Workers
    from distq.net.serve import ServerConnection

ROWS_MAX: Final = 500
"""Maximum rows of one page: more than any terminal shows."""
OFFSET_MAX: Final = 10_000
"""Maximum rows before a page: a master has at most as many queues."""
QUEUES_PER_CYCLE: Final = 1_000
"""Maximum queues that one cycle examines: about a millisecond of work."""
RUNNING_MAX: Final = 10_000
"""Maximum running tasks that one page searches, to limit the work of one cycle."""
DEAD_SEARCHED_MAX: Final = 2_000
"""Maximum dead letters that one page searches, the newest ones, to limit the work of one cycle."""
COUNTED: Final = {"ready": READY, "held": HELD, "delayed": DELAYED, "leased": LEASED, "dead": DEAD}

Completed = dict[str, list[int]]
"""Tasks submitted, completed and dead since the master's start, by queue."""


class LivePage(CallRequest):
    """`live`: replies with the totals, and the rows of `view` from `offset` on, at most `limit`."""

    __slots__ = (
        "best",
        "counts",
        "filter",
        "limit",
        "matched",
        "offset",
        "pending",
        "sort",
        "total",
        "view",
        "workers",
    )

    def __init__(self, connection: ServerConnection, workers: Workers, asked: Mapping[str, Any]) -> None:
        super().__init__(connection)
        self.workers = workers
        view, sort = text_in(asked, "view") or "queues", text_in(asked, "sort")
        if view not in SORTS:
            raise BadCall(f"view is one of {', '.join(SORTS)}.")
        sort = sort or next(iter(SORTS[view]))
        if sort not in SORTS[view]:
            raise BadCall(f"sort of {view} is one of {', '.join(SORTS[view])}.")
        self.view = view
        self.sort = SORTS[view][sort]
        self.filter = (text_in(asked, "filter") or "").casefold()
        self.offset = _whole(asked, "offset", 0, OFFSET_MAX)
        self.limit = _whole(asked, "limit", 20, ROWS_MAX)
        self.counts = dict.fromkeys(COUNTED, 0)
        self.pending: Iterator[Queue[Task]] | None = None
        """The queues that the request has not examined."""
        self.best: list[Any] = []
        """The first rows of all that it has examined, sorted."""
        self.matched = 0
        self.total = 0

    def answer(self, cycle: Cycle, now: float) -> None:  # noqa: D102 - as Request
        if self.pending is None:
            self.pending = iter(list(cycle.ledger.registry.queues.values()))
        chunk = list(islice(self.pending, QUEUES_PER_CYCLE))
        sums = [sum(column) for column in zip(*(queue.counts for queue in chunk), strict=True)]
        for field, state in COUNTED.items() if sums else ():
            self.counts[field] += sums[state]
        if self.view == "queues":
            self._keep(chunk, lambda queue: (queue.name,))
        if len(chunk) == QUEUES_PER_CYCLE:
            if self.connection.open:
                cycle.ask(self)
            return
        if self.view != "queues":
            self._keep(*self._candidates(cycle))
        page = self.best[self.offset :]
        unknown = [task for task in page if task.causes is None] if self.view == "failures" else []
        cycle.read(self, [task.task_key for task in unknown], partial(self._reply, cycle, now, page, unknown))

    def _keep(self, items: list[Any], texts: Callable[[Any], tuple[str, ...]]) -> None:
        """Count the items with a text that contains the filter, and keep the first ones by the sort."""
        self.total += len(items)
        if self.filter:
            items = [item for item in items if any(self.filter in text.casefold() for text in texts(item))]
        self.matched += len(items)
        end = self.offset + self.limit
        if self.view == "failures":  # the newest first already
            self.best = items[:end]
        else:
            self.best = nsmallest(end, chain(self.best, items), key=self.sort)

    def _candidates(self, cycle: Cycle) -> tuple[list[Any], Callable[[Any], tuple[str, ...]]]:
        """Return the workers, running tasks or dead letters, and what gives the texts of one that a filter searches."""
        if self.view == "workers":
            return list(self.workers.sessions.values()), lambda session: (session.name, session.pool, session.host)
        if self.view == "running":
            return list(islice(self._running(), RUNNING_MAX)), _task_texts
        return list(islice(reversed(cycle.ledger.state.dead.values()), DEAD_SEARCHED_MAX)), _task_texts

    def _running(self) -> Iterator[Task]:
        for session in self.workers.sessions.values():
            for executor in session.executors.values():
                yield from islice(executor.held.values(), executor.executor_slots)

    def _reply(
        self, cycle: Cycle, now: float, page: list[Any], unknown: list[Task], bodies: list[bytes | None]
    ) -> None:
        learn(unknown, bodies)
        completed = _completed(cycle)
        if self.view == "queues":
            rows = [_queue_row(queue, completed, now) for queue in page]
        elif self.view == "workers":
            rows = [_worker_row(session, now) for session in page]
        elif self.view == "running":
            progress = cycle.ledger.state.progress
            rows = [{**row_of(task), "progress": progress.get(task.task_key)} for task in page]
        else:
            rows = [dead_row(task) for task in page]
        sessions = self.workers.sessions.values()
        gone = cycle.ledger.registry.counters_of_gone
        sums = [sum(column) for column in zip(*completed.values(), strict=True)] or [0, 0, 0]
        totals = {
            **self.counts,
            "queues": len(cycle.ledger.registry.queues),
            "workers": len(sessions),
            "slots": sum(one.slots for one in sessions),
            "busy": sum(min(one.occupied_slots, one.slots) for one in sessions),
            "submitted": sums[0] + gone.submitted,
            "completed": sums[1] + sum(gone.completed.values()),
            "failed": sums[2] + gone.completed["dead"],
            "cpu_s": time.process_time(),
        }
        counted = {"total": self.total, "matched": self.matched}
        self.connection.reply(returned({"at": now, "totals": totals, **counted, "rows": rows}))


def _completed(cycle: Cycle) -> Completed:
    """Sum the counters of task names by queue; there are at most 300."""
    sums: Completed = {}
    for (queue, _), counters in cycle.ledger.registry.counters.items():
        row = sums.setdefault(queue, [0, 0, 0])
        row[0] += counters.submitted
        row[1] += sum(counters.completed.values())
        row[2] += counters.completed["dead"]
    return sums


def _queue_row(queue: Queue[Task], completed: Completed, now: float) -> dict[str, Any]:
    counts = completed.get(queue.name)
    since_at = queue.oldest_submitted_at()
    return {
        "name": queue.name,
        **{field: queue.counts[state] for field, state in COUNTED.items()},
        "capacity": queue.capacity,
        "paused": queue.policy.paused,
        "paused_names": len(queue.policy.paused_names),
        "running_max": queue.policy.running,
        "rate": None if queue.policy.rate is None else str(queue.policy.rate),
        "oldest_age_s": None if since_at is None else max(0.0, now - since_at),
        "mean_run_s": queue.mean_run_s,
        "submitted": None if counts is None else counts[0],
        "completed": None if counts is None else counts[1],
    }


def _worker_row(session: WorkerSession, now: float) -> dict[str, Any]:
    return {
        "name": session.name,
        "pool": session.pool,
        "host": session.host,
        "slots": session.slots,
        "busy": session.busy,
        "draining": session.draining,
        "memory_bytes": session.memory_bytes,
        "version": session.version,
        "unknown_names": len(session.unknown),
        "unknown_first": list(islice(session.unknown, UNKNOWN_SHOWN)),
        "seen_age_s": max(0.0, now - session.seen_at),
    }


def _task_texts(task: Task) -> tuple[str, ...]:
    holder = () if task.holder is None else (task.holder.label,)
    return (task.envelope.queue.name, task.envelope.name, *holder, *(task.causes or ())[-1:])


def _whole(asked: Mapping[str, Any], field: str, default: int, most: int) -> int:
    number = asked.get(field, default)
    if type(number) is not int or not 0 <= number <= most:
        raise BadCall(f"{field} is a whole number from 0 to {most:,}.")
    return number


def _count(state: int) -> Callable[[Queue[Task]], tuple[int, str]]:
    return lambda queue: (-queue.counts[state], queue.name)


SORTS: Final[Mapping[str, Mapping[str, Callable[[Any], Any]]]] = {
    "queues": {
        "ready": _count(READY),
        "running": _count(LEASED),
        "delayed": _count(DELAYED),
        "dead": _count(DEAD),
        "name": lambda queue: queue.name,
    },
    "workers": {
        "name": lambda session: (session.name, session.key),
        "busy": lambda session: (-session.busy, session.name),
        "memory": lambda session: (-(session.memory_bytes or 0), session.name),
        "seen": lambda session: (session.seen_at, session.name),
    },
    "running": {
        "longest": lambda task: task.leased_at,
        "newest": lambda task: -task.leased_at,
        "name": lambda task: (task.envelope.name, task.task_key),
        "queue": lambda task: (task.envelope.queue.name, task.task_key),
    },
    "failures": {"newest": lambda task: -task.state_since_at},
}
"""The views, and the key of each of their sorts; the first sort of a view is its default."""
