"""distq with its default settings, and a store in memory."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from benchmarks import tasks
from benchmarks.peers.system import System
from benchmarks.processes import AUTHKEY, master, worker
from distq import Client

TITLE = "distq, in memory"
SETTINGS = "DISTQ_STORE=memory:, one worker with --concurrency 2, everything else as shipped"


class Distq(System):
    """A master, a worker and a client."""

    def __init__(self, client: Client, broker_pid: int) -> None:
        self._client = client
        self.broker_pid = broker_pid

    def submit(self, task: str, argument: object) -> Any:
        """Submit a task."""
        return self._client.submit(getattr(tasks, task), argument)

    def result(self, handle: Any) -> Any:
        """Wait for the result."""
        return handle.result()

    def queue(self, task: str, arguments: Any) -> None:
        """Submit tasks, and wait until the master has them; their futures are dropped."""
        for argument in arguments:
            self.submit(task, argument)
        self._client.flush()


@contextlib.contextmanager
def running(workers: int, store: str = "memory:") -> Iterator[System]:
    """Start a master and a worker."""
    with contextlib.ExitStack() as stack:
        started = stack.enter_context(master(DISTQ_STORE=store))
        if workers:
            stack.enter_context(worker(started, "benchmarks.tasks"))
        client = stack.enter_context(Client(f"{started.address[0]}:{started.address[1]}", AUTHKEY))
        yield Distq(client, started.pid)
        if not workers:
            client.abandon()
