"""taskiq with the Redis broker that its page recommends, which acknowledges tasks."""

from __future__ import annotations

import asyncio
import contextlib
import os
from base64 import b64decode
from collections.abc import Iterator, Sequence
from typing import Any

from taskiq_redis import RedisAsyncResultBackend, RedisStreamBroker  # type: ignore[import-not-found]

from benchmarks import tasks
from benchmarks.peers.system import BIN, REDIS_URL, WAIT_S, System, as_text, if_any, redis

TITLE = "taskiq, Redis"
SETTINGS = (
    "taskiq worker --workers 2, RedisStreamBroker, RedisAsyncResultBackend, async tasks, results polled "
    "each millisecond instead of five times a second, payloads in base64: an argument of bytes must be valid UTF-8"
)
CHECK_S = 0.001

TASKS: dict[str, Any] = {}


async def square(n: int) -> int:
    """Do almost nothing."""
    return tasks.square(n)


async def same(body: str) -> str:
    """Return the argument."""
    return body


def made(url: str) -> Any:
    """Make the broker and its tasks, in the worker when it imports this module, and in the client."""
    made_broker = RedisStreamBroker(url=url).with_result_backend(RedisAsyncResultBackend(redis_url=url))
    TASKS.update({one.__name__: made_broker.task(task_name=one.__name__)(one) for one in (square, same)})
    return made_broker


broker = made(os.environ[REDIS_URL]) if REDIS_URL in os.environ else None


class OfTaskiq(System):
    """A client of taskiq, on an event loop of its own."""

    def __init__(self, runner: asyncio.Runner, broker_pid: int) -> None:
        self._runner = runner
        self.broker_pid = broker_pid

    def submit(self, task: str, argument: object) -> Any:
        """Submit a task."""
        return self._runner.run(TASKS[task].kiq(as_text(argument)))

    def result(self, handle: Any) -> Any:
        """Wait for the result."""
        return self._runner.run(self._result(handle))

    def many(self, task: str, arguments: Sequence[object]) -> Sequence[Any]:
        """Submit and wait without leaving the event loop."""

        async def run() -> list[Any]:
            handles = [await TASKS[task].kiq(as_text(argument)) for argument in arguments]
            return [await self._result(handle) for handle in handles]

        return self._runner.run(run())

    async def _result(self, handle: Any) -> Any:
        value = (await handle.wait_result(check_interval=CHECK_S, timeout=WAIT_S)).return_value
        return b64decode(value) if isinstance(value, str) else value


@contextlib.contextmanager
def running(workers: int) -> Iterator[System]:
    """Start Redis and the workers."""
    with redis() as (url, pid), asyncio.Runner() as runner:
        client = made(url)
        runner.run(client.startup())
        with if_any(workers, BIN / "taskiq", "worker", f"{__name__}:broker", "--workers", str(workers)):
            yield OfTaskiq(runner, pid)
        runner.run(client.shutdown())
