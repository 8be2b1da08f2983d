"""The tasks of run_order.py."""

import time
from pathlib import Path

import distq


def _together(folder: str, who: str, seconds: float) -> int:
    """How many of `who` run at this moment, this one included: each leaves a file while it runs."""
    mine = Path(folder) / f"{who}-{time.monotonic_ns()}"
    mine.touch()
    try:
        time.sleep(seconds)
        return len(list(Path(folder).glob(f"{who}-*")))
    finally:
        mine.unlink()


@distq.task(concurrency_key=lambda tenant, _folder: tenant, concurrency=1)
def import_of(tenant: str, folder: str) -> int:
    """Work for a tenant; of each tenant one at a time."""
    return _together(folder, tenant, 0.05)


@distq.task(queue="reports")
def report(folder: str) -> int:
    """Work on a queue that somebody limits from outside."""
    return _together(folder, "report", 0.05)


@distq.task(queue="films", cost=2)
def encode(folder: str) -> int:
    """Work that takes two of a worker's slots."""
    return _together(folder, "film", 0.05)


@distq.task(queue="mail")
def send(number: int) -> tuple[int, float]:
    """Which it was, and when it was sent."""
    return number, time.monotonic()
