"""The standard library's `concurrent.futures.ProcessPoolExecutor`."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from typing import Any

from benchmarks import tasks
from benchmarks.peers.system import System

TITLE = "ProcessPoolExecutor"
SETTINGS = "max_workers=2; processes of one machine that end with the program"


class Futures(System):
    """Any executor of the standard library's kind."""

    def __init__(self, executor: Executor) -> None:
        self._executor = executor

    def submit(self, task: str, argument: object) -> Any:
        """Submit a task."""
        return self._executor.submit(getattr(tasks, task), argument)

    def result(self, handle: Any) -> Any:
        """Wait for the result."""
        return handle.result()


@contextlib.contextmanager
def running(workers: int) -> Iterator[System]:
    """Start the pool."""
    with ProcessPoolExecutor(workers) as executor:
        yield Futures(executor)
