"""The request of `distq top`: the master's totals, and a page of its queues, workers, running tasks or dead letters.

A reply has only the rows that fit the caller's screen. A search of 10,000 queues takes several cycles, so that it
delays no other request.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from heapq import nsmallest
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from distq.core.states import DEAD, DELAYED, HELD, LEASED, READY
from distq.master.admin.dead_letter_filter import learn
from distq.master.admin.dead_letters import row as dead_row
from distq.master.admin.task_list import row_of, text_in
from distq.master.cycle.requests import CallRequest
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
QUEUES_PER_CYCLE: Final = 500
"""Maximum queues that one cycle examines: less than a millisecond of work."""
RUNNING_MAX: Final = 10_000
"""Maximum running tasks that one page searches, to limit the work of one cycle."""
DEAD_SEARCHED_MAX: Final = 2_000
"""Maximum dead letters that one page searches, the newest ones, to limit the work of one cycle."""
COUNTED: Final = {"ready": READY, "held": HELD, "delayed": DELAYED, "leased": LEASED, "dead": DEAD}

Completed = dict[str, list[int]]
"""Tasks submitted, completed and dead since the master's start, by queue."""


class Found(NamedTuple):
    """One object of a view, with the texts that the filter searches."""

    item: Any
    texts: tuple[str, ...]


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
        for queue in chunk:
            for word, state in COUNTED.items():
                self.counts[word] += queue.counts[state]
        if self.view == "queues":
            self._keep(Found(queue, (queue.name,)) for queue in chunk)
        if len(chunk) == QUEUES_PER_CYCLE:
            if self.connection.open:
                cycle.ask(self)
            return
        if self.view != "queues":
            self._keep(self._candidates(cycle))
        page = self.best[self.offset :]
        unknown = [task for task in page if task.causes is None] if self.view == "failures" else []
        cycle.read(self, [task.task_key for task in unknown], partial(self._reply, cycle, now, page, unknown))

    def _keep(self, found: Iterator[Found]) -> None:
        """Count the objects that match the filter, and keep the first ones by the sort."""
        matching = []
        for item, texts in found:
            self.total += 1
            if not self.filter or any(self.filter in text.casefold() for text in texts):
                matching.append(item)
        self.matched += len(matching)
        if self.view == "failures":  # the newest first already
            self.best += matching[: self.offset + self.limit]
        else:
            self.best = nsmallest(self.offset + self.limit, [*self.best, *matching], key=self.sort)

    def _candidates(self, cycle: Cycle) -> Iterator[Found]:
        if self.view == "workers":
            for session in self.workers.sessions.values():
                yield Found(session, (session.name, session.pool, session.host))
        elif self.view == "running":
            for task in islice(self._running(), RUNNING_MAX):
                yield Found(task, (*_task_texts(task), "" if task.holder is None else task.holder.label))
        else:
            for task in islice(reversed(cycle.ledger.state.dead.values()), DEAD_SEARCHED_MAX):
                yield Found(task, (*_task_texts(task), *(task.causes or ())[-1:]))

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
            "busy": sum(one.busy for one in sessions),
            "submitted": sums[0] + gone.submitted,
            "completed": sums[1] + sum(gone.completed.values()),
            "failed": sums[2] + gone.completed["dead"],
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
        **{word: queue.counts[state] for word, state in COUNTED.items()},
        "paused": queue.policy.paused,
        "oldest_age_s": None if since_at is None else max(0.0, now - since_at),
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
        "seen_age_s": max(0.0, now - session.seen_at),
    }


def _task_texts(task: Task) -> tuple[str, str]:
    return task.envelope.queue.name, task.envelope.name


def _whole(asked: Mapping[str, Any], word: str, default: int, most: int) -> int:
    number = asked.get(word, default)
    if type(number) is not int or not 0 <= number <= most:
        raise BadCall(f"{word} is a whole number from 0 to {most:,}.")
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
