"""Celery with Redis as its broker and its result backend."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from typing import Any

import celery  # type: ignore[import-not-found]
from celery.result import ResultSet  # type: ignore[import-not-found]

from benchmarks import tasks
from benchmarks.peers.system import BIN, REDIS_URL, WAIT_S, System, if_any, redis

TITLE = "Celery, Redis"
SETTINGS = (
    "prefork pool with --concurrency 2, worker_prefetch_multiplier=64 as its page on optimizing says of short tasks, "
    "pickle as the serializer, results by ResultSet.join_native; Redis without its limit of 32 MB for subscribers, "
    "which loses results of 100 kB"
)

app = celery.Celery("peers", broker=os.environ.get(REDIS_URL), backend=os.environ.get(REDIS_URL))
app.conf.update(
    worker_prefetch_multiplier=64, task_serializer="pickle", result_serializer="pickle", accept_content=["pickle"]
)
TASKS = {name: app.task(getattr(tasks, name), name=name) for name in ("square", "same")}


class OfCelery(System):
    """A client of Celery."""

    def __init__(self, broker_pid: int) -> None:
        self.broker_pid = broker_pid

    def submit(self, task: str, argument: object) -> Any:
        """Submit a task."""
        return TASKS[task].delay(argument)

    def result(self, handle: Any) -> Any:
        """Wait for the result."""
        return handle.get(timeout=WAIT_S)

    def many(self, task: str, arguments: Sequence[object]) -> Sequence[Any]:
        """Collect the results together."""
        handles = [self.submit(task, argument) for argument in arguments]
        results: list[Any] = ResultSet(handles).join_native(timeout=WAIT_S)
        return results


@contextlib.contextmanager
def running(workers: int) -> Iterator[System]:
    """Start Redis and a worker."""
    with redis("--client-output-buffer-limit", "pubsub", "0", "0", "0") as (url, pid):
        app.conf.update(broker_url=url, result_backend=url)
        command = ("-A", __name__, "worker", "--concurrency", str(workers), "--loglevel", "ERROR")
        with if_any(workers, BIN / "celery", *command, C_FORCE_ROOT="1"):
            yield OfCelery(pid)
