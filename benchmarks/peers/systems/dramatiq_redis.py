"""Dramatiq with Redis as its broker and its result backend."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import Any

import dramatiq  # type: ignore[import-not-found]
from dramatiq.brokers.redis import RedisBroker  # type: ignore[import-not-found]
from dramatiq.results import Results  # type: ignore[import-not-found]
from dramatiq.results.backends import RedisBackend  # type: ignore[import-not-found]

from benchmarks import tasks
from benchmarks.peers.system import BIN, REDIS_URL, WAIT_S, System, if_any, redis

TITLE = "Dramatiq, Redis"
SETTINGS = "dramatiq --processes 2 --threads 1, the Results middleware with its Redis backend, PickleEncoder for bytes"

ACTORS: dict[str, Any] = {}


def set_up(url: str) -> None:
    """Make the broker and the actors, in the worker when it imports this module, and in the client."""
    encoder = dramatiq.PickleEncoder()
    dramatiq.set_encoder(encoder)
    broker = RedisBroker(url=url)
    broker.add_middleware(Results(backend=RedisBackend(url=url, encoder=encoder), store_results=True))
    dramatiq.set_broker(broker)
    ACTORS.update({name: dramatiq.actor(getattr(tasks, name)) for name in ("square", "same")})


if REDIS_URL in os.environ:
    set_up(os.environ[REDIS_URL])


class OfDramatiq(System):
    """A client of Dramatiq."""

    def __init__(self, broker_pid: int) -> None:
        self.broker_pid = broker_pid

    def submit(self, task: str, argument: object) -> Any:
        """Submit a task."""
        return ACTORS[task].send(argument)

    def result(self, handle: Any) -> Any:
        """Wait for the result."""
        return handle.get_result(block=True, timeout=int(WAIT_S * 1000))


@contextlib.contextmanager
def running(workers: int) -> Iterator[System]:
    """Start Redis and the workers."""
    with redis() as (url, pid):
        set_up(url)
        with if_any(workers, BIN / "dramatiq", __name__, "--processes", str(workers), "--threads", "1"):
            yield OfDramatiq(pid)
