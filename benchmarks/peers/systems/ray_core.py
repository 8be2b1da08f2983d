"""Ray's tasks."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import ray  # type: ignore[import-not-found]

from benchmarks import tasks
from benchmarks.peers.system import System

TITLE = "Ray"
SETTINGS = "ray.init(num_cpus=2), no dashboard, results by one ray.get of the list; queued tasks stay in the client"


class OfRay(System):
    """A driver of Ray."""

    def __init__(self) -> None:
        self._functions = {name: ray.remote(getattr(tasks, name)) for name in ("square", "same")}

    def submit(self, task: str, argument: object) -> Any:
        """Submit a task."""
        return self._functions[task].remote(argument)

    def result(self, handle: Any) -> Any:
        """Wait for the result."""
        return ray.get(handle)

    def many(self, task: str, arguments: Sequence[object]) -> Sequence[Any]:
        """Collect the results together."""
        results: list[Any] = ray.get([self.submit(task, argument) for argument in arguments])
        return results


@contextlib.contextmanager
def running(workers: int) -> Iterator[System]:
    """Start Ray on this machine."""
    ray.init(num_cpus=workers, include_dashboard=False, log_to_driver=False, object_store_memory=1 << 30)
    try:
        yield OfRay()
    finally:
        ray.shutdown()
