"""Measures tasks with a store that syncs every commit, and two bare syncs on the same disk for comparison."""

from __future__ import annotations

import os
import statistics
import tempfile
from pathlib import Path

from benchmarks.cluster import cluster
from benchmarks.measure import median_s, seconds, show, time_text
from benchmarks.tasks import square

TASKS = 100_000
TRIPS = 1_000
WARM_UP = 2_000
SYNCS = 500
COMMIT_BYTES = 12 * 1024
"""Bytes that the commit of one task appends to SQLite's log, about three pages."""
ALLOWED = 1.5
ALLOWED_S = 0.0003


def two_syncs(folder: Path) -> float:
    """Return the median seconds of two small appends with a sync each: the minimum for the two commits of a task."""
    with (folder / "syncs").open("wb", buffering=0) as file:

        def sync() -> None:
            file.write(b"x" * COMMIT_BYTES)
            os.fdatasync(file.fileno())

        return 2 * median_s(sync, SYNCS)


def main() -> None:
    """Measure, and print the figures with their limits."""
    with tempfile.TemporaryDirectory(prefix="distq-bench-", dir=Path.cwd()) as name:
        folder = Path(name)
        before_s = two_syncs(folder)
        with cluster(DISTQ_STORE=f"sqlite:///{folder / 'queue.db'}") as client:

            def loop(count: int) -> None:
                futures = [client.submit(square, n) for n in range(count)]
                assert sum(future.result() for future in futures) == sum(n * n for n in range(count))

            loop(WARM_UP)
            rate = statistics.median(TASKS / seconds(lambda: loop(TASKS)) for _ in range(3))
            trip_s = median_s(lambda: client.submit(square, 1).result(), TRIPS)
        syncs_s = statistics.median((before_s, two_syncs(folder)))
    allowed_s = ALLOWED * (syncs_s + ALLOWED_S)
    rows = [
        ("tasks/s, submitted in a loop", "30,000", f"{rate:,.0f}", f"{rate / 30_000:.1f} x"),
        ("round trip of one task, p50", time_text(allowed_s), time_text(trip_s), f"{allowed_s / trip_s:.2f} x"),
        ("two syncs alone", "-", time_text(syncs_s), "-"),
    ]
    show("A sync for every commit", rows, ("", "asked", "distq", "ratio"))


if __name__ == "__main__":
    main()
