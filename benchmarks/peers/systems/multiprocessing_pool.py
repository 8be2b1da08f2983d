"""The standard library's `multiprocessing.Pool`."""

from __future__ import annotations

import contextlib
import multiprocessing
from collections.abc import Iterator, Sequence
from multiprocessing.pool import Pool
from typing import Any

from benchmarks import tasks
from benchmarks.peers.system import System

TITLE = "multiprocessing.Pool"
SETTINGS = "processes=2; many tasks by imap(chunksize=1), single ones by apply_async"


class OfPool(System):
    """A pool of processes of one machine."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    def submit(self, task: str, argument: object) -> Any:
        """Submit a task."""
        return self._pool.apply_async(getattr(tasks, task), (argument,))

    def result(self, handle: Any) -> Any:
        """Wait for the result."""
        return handle.get()

    def many(self, task: str, arguments: Sequence[object]) -> Sequence[Any]:
        """Send the tasks one by one."""
        return list(self._pool.imap(getattr(tasks, task), arguments, chunksize=1))


@contextlib.contextmanager
def running(workers: int) -> Iterator[System]:
    """Start the pool."""
    with multiprocessing.Pool(workers) as pool:
        yield OfPool(pool)
