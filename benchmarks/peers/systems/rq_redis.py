"""RQ with Redis."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import rq  # type: ignore[import-not-found]
from redis import Redis  # type: ignore[import-not-found]

from benchmarks import tasks
from benchmarks.peers.system import BIN, WAIT_S, System, if_any, redis

TITLE = "RQ, Redis"
SETTINGS = (
    "rq worker-pool --num-workers 2 with SimpleWorker, which its notes on performance name for very short jobs: the "
    "default worker forks for each job, and needs several times as long"
)


class OfRq(System):
    """A client of RQ."""

    def __init__(self, url: str, broker_pid: int) -> None:
        self._queue = rq.Queue(connection=Redis.from_url(url))
        self.broker_pid = broker_pid

    def submit(self, task: str, argument: object) -> Any:
        """Submit a task."""
        return self._queue.enqueue(getattr(tasks, task), argument)

    def result(self, handle: Any) -> Any:
        """Wait for the result in Redis."""
        return handle.latest_result(timeout=int(WAIT_S)).return_value


@contextlib.contextmanager
def running(workers: int) -> Iterator[System]:
    """Start Redis and a pool of workers."""
    with redis() as (url, pid):
        command = ("worker-pool", "--num-workers", str(workers), "--worker-class", "rq.worker.SimpleWorker")
        with if_any(workers, BIN / "rq", *command, "--url", url, "--quiet", "default"):
            yield OfRq(url, pid)
