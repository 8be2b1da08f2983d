"""Dask's distributed scheduler."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

from distributed import Client  # type: ignore[import-not-found]

from benchmarks import tasks
from benchmarks.peers.system import BIN, System, free_port, if_any, process, wait_for

TITLE = "Dask distributed"
SETTINGS = "dask scheduler, dask worker --nworkers 2 --nthreads 1, no dashboards, pure=False, results by Client.gather"


class OfDask(System):
    """A client of Dask."""

    def __init__(self, client: Any, broker_pid: int) -> None:
        self._client = client
        self._kept: list[Any] = []
        self.broker_pid = broker_pid

    def submit(self, task: str, argument: object) -> Any:
        """Submit a task."""
        return self._client.submit(getattr(tasks, task), argument, pure=False)

    def result(self, handle: Any) -> Any:
        """Wait for the result."""
        return handle.result()

    def many(self, task: str, arguments: Sequence[object]) -> Sequence[Any]:
        """Collect the results together."""
        results: list[Any] = self._client.gather([self.submit(task, argument) for argument in arguments])
        return results

    def queue(self, task: str, arguments: Sequence[object]) -> None:
        """Keep the futures: the scheduler forgets a task whose future is gone."""
        self._kept += [self.submit(task, argument) for argument in arguments]
        self._client.nthreads()  # answers after the scheduler has read all of them


@contextlib.contextmanager
def running(workers: int) -> Iterator[System]:
    """Start a scheduler, the workers and a client."""
    port = free_port()
    command = (BIN / "dask", "scheduler", "--host", "127.0.0.1", "--port", str(port), "--no-dashboard")
    with process(*command) as scheduler:
        wait_for(port, scheduler)
        address = f"tcp://127.0.0.1:{port}"
        of_worker = ("--nworkers", str(workers), "--nthreads", "1", "--no-dashboard")
        with if_any(workers, BIN / "dask", "worker", address, *of_worker), Client(address) as client:
            yield OfDask(client, scheduler.pid)
