"""The recipe of the standard library: a BaseManager with two queues, and workers that connect to it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from benchmarks import tasks
from benchmarks.peers.system import System
from benchmarks.processes import connect, process, stdlib_server

TITLE = "BaseManager recipe"
SETTINGS = "multiprocessing.managers.BaseManager, two queues, two worker processes; it loses what a dead worker held"


class Recipe(System):
    """A client's proxies of the two queues."""

    def __init__(self, address: tuple[str, int], broker_pid: int) -> None:
        self._work, self._result = connect(address)
        self.broker_pid = broker_pid

    def submit(self, task: str, argument: object) -> Any:
        """Put a task on the queue."""
        self._work.put((task, argument))

    def result(self, handle: Any) -> Any:
        """Get the next result; the queue does not say of which task."""
        assert handle is None
        return self._result.get()


def work(port: int) -> None:
    """Run tasks until the server ends."""
    queue, result = connect(("127.0.0.1", port))
    with contextlib.suppress(EOFError, OSError):
        while True:
            task, argument = queue.get()
            result.put(getattr(tasks, task)(argument))


@contextlib.contextmanager
def running(workers: int) -> Iterator[System]:
    """Start a server and its workers."""
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(stdlib_server())
        code = f"from benchmarks.peers.systems.recipe import work; work({server.address[1]})"
        for _ in range(workers):
            stack.enter_context(process("-c", code))
        yield Recipe(server.address, server.pid)
