"""The state of a master as values that JSON can carry, for `/api/v1/…` and the broker's `stats` call.

HTTP needs no key, so it shows counts only; `workers_by_name` is for clients that have proved the key.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from heapq import nsmallest
from typing import Any

from distq._version import __version__
from distq.core.queue import QUEUES_PER_PART, Queue, parts
from distq.core.states import DEAD, DELAYED, HELD, LEASED, READY, STATE_NAMES, SUCCEEDED
from distq.core.task import Task
from distq.metrics.view import MasterMetrics, WorkerRow

COUNTED = {"ready": READY, "held": HELD, "delayed": DELAYED, "leased": LEASED, "dead": DEAD, "results": SUCCEEDED}

STORE_WORDS = (
    "bytes",
    "wal_bytes",
    "free_bytes",
    "free_pages",
    "commit_s",
    "refusing",
    "hangs",
    "sqlite_version",
    "server_version",
)
"""The figures of the store's health that are shown; none of them names a file."""


def overview(view: MasterMetrics) -> dict[str, Any]:
    """Return the master's state in a few numbers."""
    queues, workers, reason = list(view.queues()), list(view.workers()), view.not_ready()
    all_counters = [*view.counters().values(), view.gone]
    counts = [sum(column) for column in zip(*(queue.counts for queue in queues), strict=True)] or [0] * len(STATE_NAMES)
    completed: Counter[str] = Counter()
    for counters in all_counters:
        completed.update(counters.completed)
    return {
        "version": __version__,
        "instance": view.instance,
        "epoch": view.epoch,
        "store": view.store.partition(":")[0],
        "store_health": {field: view.store_health[field] for field in STORE_WORDS if field in view.store_health},
        "commits": {"count": sum(view.store_commits.counts), "sum_s": round(view.store_commits.sum_s, 6)},
        "uptime_s": round(view.now() - view.started_at, 3),
        "ready": reason is None,
        "reason": reason,
        "queues": len(queues),
        "schedules": sum(view.schedules.values()),
        "tasks": {name: counts[state] for name, state in COUNTED.items()},
        "submitted": sum(counters.submitted for counters in all_counters),
        "completed": dict(completed),
        "workers": len(workers),
        "slots": {"total": sum(row.slots for row in workers), "busy": sum(row.busy for row in workers)},
        "connections": sum(view.connections().values()),
        "auth_failures": view.auth_failures,
    }


def text(value: object) -> str:
    """Return a value as JSON in ASCII, which can escape the characters of peers' queue names that UTF-8 lacks."""
    return json.dumps(value, separators=(",", ":"))


def queues_slices(view: MasterMetrics) -> Iterator[str]:
    """Yield the value of `queues` as JSON, in slices: a master may have 10,000 queues."""
    now, known = view.now(), sorted(view.queues(), key=lambda queue: queue.name)
    yield '{"queues":['
    for at, part in enumerate(parts(known)):
        yield ("," if at else "") + ",".join(text(_queue(queue, now)) for queue in part)
    yield "]}\n"


def queues(view: MasterMetrics) -> dict[str, Any]:
    """Return every queue, by name, with its counts by state."""
    now = view.now()
    return {"queues": [_queue(queue, now) for queue in sorted(view.queues(), key=lambda queue: queue.name)]}


def queues_page(view: MasterMetrics, after: str) -> dict[str, Any]:
    """Return the first queues, by name, whose names follow `after`, and where the next page begins, None at the end.

    The names of all queues are compared for each page, and only the queues of the page are examined.
    """
    following = [queue for queue in view.queues() if queue.name > after]
    page = next(parts(nsmallest(QUEUES_PER_PART, following, key=lambda queue: queue.name)))
    now = view.now()
    return {
        "queues": [_queue(queue, now) for queue in page],
        "next": page[-1].name if len(page) < len(following) else None,
    }


def workers(view: MasterMetrics) -> dict[str, Any]:
    """Return workers and slots by pool, without names."""
    pools: dict[str, Counter[str]] = {}
    for row in view.workers():
        pool = pools.setdefault(row.pool, Counter(workers=0, slots=0, busy=0, draining=0))
        pool.update(workers=1, slots=row.slots, busy=row.busy, draining=int(row.draining))
    return {"pools": [{"pool": name, **pools[name]} for name in sorted(pools)]}


def workers_by_name(view: MasterMetrics) -> dict[str, Any]:
    """Return the pools of `workers`, and every worker with its name and host, for clients with the key."""
    now = view.now()
    rows = sorted(view.workers(), key=lambda row: (row.pool, row.name))
    return {**workers(view), "workers": [_worker(row, now) for row in rows]}


STATS: Mapping[str, Callable[[MasterMetrics], dict[str, Any]]] = {
    "overview": overview,
    "queues": queues,
    "workers": workers_by_name,
}
"""The function that computes the answer to the broker's `stats(what)`, by `what`."""


def _queue(queue: Queue[Task], now: float) -> dict[str, Any]:
    since = queue.oldest_submitted_at()
    return {
        "name": queue.name,
        "role": queue.role,
        **{name: queue.counts[state] for name, state in COUNTED.items()},
        "capacity": queue.capacity,
        "paused": queue.policy.paused,
        "paused_names": len(queue.policy.paused_names),
        "running_max": queue.policy.running,
        "rate": None if queue.policy.rate is None else str(queue.policy.rate),
        "oldest_age_s": None if since is None else round(max(0.0, now - since), 3),
        "mean_run_s": queue.mean_run_s,
    }


def _worker(row: WorkerRow, now: float) -> dict[str, Any]:
    fields = row._asdict()
    connected_at, seen_at = fields.pop("connected_at"), fields.pop("seen_at")
    return {
        **fields,
        "connected_age_s": round(max(0.0, now - connected_at), 3),
        "seen_age_s": round(max(0.0, now - seen_at), 3),
    }
