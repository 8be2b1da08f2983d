"""ipyparallel's engines, with the load-balanced view."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import ipyparallel  # type: ignore[import-not-found]

from benchmarks import tasks
from benchmarks.peers.system import WAIT_S, System

TITLE = "ipyparallel"
SETTINGS = "Cluster(n=2), load_balanced_view().apply_async; its scheduler refuses tasks without engines"


class OfEngines(System):
    """A client of the engines."""

    def __init__(self, view: Any) -> None:
        self._view = view

    def submit(self, task: str, argument: object) -> Any:
        """Submit a task."""
        return self._view.apply_async(getattr(tasks, task), argument)

    def result(self, handle: Any) -> Any:
        """Wait for the result."""
        return handle.get(WAIT_S)


@contextlib.contextmanager
def running(workers: int) -> Iterator[System]:
    """Start a controller and its engines."""
    with ipyparallel.Cluster(n=workers, log_level=40) as client:
        yield OfEngines(client.load_balanced_view())
