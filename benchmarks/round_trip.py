"""Measures the round trip of one task at a time, in a process of its own, and prints the median in seconds."""

from __future__ import annotations

import statistics
import subprocess
import sys
from collections.abc import Callable

from benchmarks.cluster import cluster
from benchmarks.measure import seconds
from benchmarks.processes import connect, recipe_workers, stdlib_server
from benchmarks.tasks import square

WARM_UP = 250
TRIPS = 1_000


def recipe() -> float:
    """Return the median round trip with a standard-library server."""
    with stdlib_server() as running, recipe_workers(running):
        work, result = connect(running.address)

        def one() -> None:
            work.put(1)
            result.get()

        return median_of(one)


def distq() -> float:
    """Return the median round trip with distq."""
    with cluster() as client:
        return median_of(lambda: client.submit(square, 1).result())


def median_of(one: Callable[[], object]) -> float:
    """Return the median seconds of one call, after a warm-up."""
    for _ in range(WARM_UP):
        one()
    return statistics.median(seconds(one) for _ in range(TRIPS))


def apart(which: str) -> float:
    """Return the median with new processes: their placement on CPUs changes the figure by up to a third."""
    run = subprocess.run(
        [sys.executable, "-m", "benchmarks.round_trip", which], check=True, capture_output=True, text=True
    )
    return float(run.stdout)


if __name__ == "__main__":
    print({"recipe": recipe, "distq": distq}[sys.argv[1]]())
