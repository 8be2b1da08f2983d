"""One task at a time, there and back, in a process of its own: prints the median in seconds."""

from __future__ import annotations

import statistics
import subprocess
import sys
from collections.abc import Callable

from benchmarks.cluster import cluster
from benchmarks.measure import seconds
from benchmarks.processes import connect, recipe_workers, stock_server
from benchmarks.tasks import square

WARM_UP = 250
TRIPS = 1_000


def recipe() -> float:
    """By the bare recipe."""
    with stock_server() as running, recipe_workers(running):
        work, result = connect(running.address)

        def one() -> None:
            work.put(1)
            result.get()

        return median_of(one)


def distq() -> float:
    """By distq."""
    with cluster() as client:
        return median_of(lambda: client.submit(square, 1).result())


def median_of(one: Callable[[], object]) -> float:
    """The median seconds of one, warm."""
    for _ in range(WARM_UP):
        one()
    return statistics.median(seconds(one) for _ in range(TRIPS))


def apart(which: str) -> float:
    """The median of a fresh set of processes: where the kernel happens to put them makes a third of it."""
    run = subprocess.run(
        [sys.executable, "-m", "benchmarks.round_trip", which], check=True, capture_output=True, text=True
    )
    return float(run.stdout)


if __name__ == "__main__":
    print({"recipe": recipe, "distq": distq}[sys.argv[1]]())
