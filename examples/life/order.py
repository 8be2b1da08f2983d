"""The tasks of run_order.py."""

import time
from pathlib import Path

import distq


def _running_count(folder: str, kind: str, seconds: float) -> int:
    """Return how many tasks of a kind run now, this one included: each keeps a file while it runs."""
    marker = Path(folder) / f"{kind}-{time.monotonic_ns()}"
    marker.touch()
    try:
        time.sleep(seconds)
        return len(list(Path(folder).glob(f"{kind}-*")))
    finally:
        marker.unlink()


@distq.task(concurrency_key=lambda tenant, _folder: tenant, concurrency=1)
def import_of(tenant: str, folder: str) -> int:
    """Work for a tenant; at most one task of each tenant runs at a time."""
    return _running_count(folder, tenant, 0.05)


@distq.task(queue="reports")
def report(folder: str) -> int:
    """Work on a queue that the operator limits."""
    return _running_count(folder, "report", 0.05)


@distq.task(queue="films", cost=2)
def encode(folder: str) -> int:
    """Work in a task that takes two slots of a worker."""
    return _running_count(folder, "film", 0.05)


@distq.task(queue="mail")
def send(number: int) -> tuple[int, float]:
    """Return the number, and the time of the run."""
    return number, time.monotonic()
