"""Huey with Redis."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import Any

from huey import RedisHuey  # type: ignore[import-not-found]

from benchmarks import tasks
from benchmarks.peers.system import BIN, REDIS_URL, WAIT_S, System, if_any, redis

TITLE = "Huey, Redis"
SETTINGS = "huey_consumer -k process -w 2, notify_result=True, without which a client polls for its results"

TASKS: dict[str, Any] = {}


def made(url: str) -> RedisHuey:
    """Make the queue and its tasks, in the worker when it imports this module, and in the client."""
    queue = RedisHuey("peers", url=url, notify_result=True)
    TASKS.update({name: queue.task()(getattr(tasks, name)) for name in ("square", "same")})
    return queue


huey = made(os.environ[REDIS_URL]) if REDIS_URL in os.environ else None


class OfHuey(System):
    """A client of Huey."""

    def __init__(self, broker_pid: int) -> None:
        self.broker_pid = broker_pid

    def submit(self, task: str, argument: object) -> Any:
        """Submit a task."""
        return TASKS[task](argument)

    def result(self, handle: Any) -> Any:
        """Wait for the result."""
        return handle.get(blocking=True, timeout=WAIT_S)


@contextlib.contextmanager
def running(workers: int) -> Iterator[System]:
    """Start Redis and a consumer."""
    with redis() as (url, pid):
        made(url)
        with if_any(workers, BIN / "huey_consumer", f"{__name__}.huey", "-k", "process", "-w", str(workers)):
            yield OfHuey(pid)
