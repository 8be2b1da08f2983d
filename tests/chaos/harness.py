"""Runs a long test on a cluster of its own, for the chaos tests and the soak test."""

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from tests.e2e.cluster import Cluster, cluster


class LongTest(Protocol):
    """A test that makes faults on a cluster for a while."""

    def run(self) -> None:
        """Run until every task has had its time to end."""
        ...

    def check(self) -> str:
        """Check what the run has left, and return the report. Raises AssertionError."""
        ...

    def end(self) -> None:
        """End the processes that do not belong to the cluster."""
        ...


def run_on_cluster(make: Callable[[Cluster], LongTest], folder: Path) -> str:
    """Run a test with a cluster whose logs are in the folder, and return the report. Raises AssertionError."""
    with cluster(folder) as grid:
        test = make(grid)
        try:
            test.run()
            return test.check()
        finally:
            test.end()
