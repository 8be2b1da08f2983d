"""Formats a worker's metrics from the counters of its supervisor; no series has a task's or a worker's name."""

from collections.abc import Iterator

from distq.metrics.families import build_info, counter, gauge
from distq.metrics.view import WorkerMetrics

CAUSES = ("oom", "signal", "recycle", "timeout", "stopped", "hung", "crash")
OUTCOMES = ("success", "failure", "released")


def worker_metrics(view: WorkerMetrics) -> Iterator[str]:
    """Yield all metrics of a worker."""
    pool = view.pool
    yield from build_info("worker")
    yield from gauge("distq_worker_connected", [((pool,), view.connected)])
    yield from gauge(
        "distq_worker_executors",
        [((pool, "busy"), view.busy), ((pool, "free"), max(0, view.slots - view.busy))],
    )
    tasks = {**dict.fromkeys(OUTCOMES, 0), **view.tasks}
    yield from counter("distq_worker_tasks_total", [((pool, outcome), count) for outcome, count in tasks.items()])
    exits = {**dict.fromkeys(CAUSES, 0), **view.exits}
    yield from counter("distq_worker_executor_exits_total", [((pool, cause), count) for cause, count in exits.items()])
