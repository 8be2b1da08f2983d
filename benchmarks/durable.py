"""Measures tasks with a store that syncs every commit, and two bare syncs on the same disk for comparison.

`python -m benchmarks.durable postgresql://user@host/database` measures a PostgreSQL database in the same run, too.
"""

from __future__ import annotations

import os
import statistics
import sys
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
POSTGRESQL_RATE_MIN = 0.7
"""Minimum tasks/s with PostgreSQL, as a part of those with SQLite in the same run."""
POSTGRESQL_TRIP_MAX = 1.6
"""Maximum round trip with PostgreSQL, as a multiple of the one with SQLite in the same run."""


def two_syncs(folder: Path) -> float:
    """Return the median seconds of two small appends with a sync each: the minimum for the two commits of a task."""
    with (folder / "syncs").open("wb", buffering=0) as file:

        def sync() -> None:
            file.write(b"x" * COMMIT_BYTES)
            os.fdatasync(file.fileno())

        return 2 * median_s(sync, SYNCS)


def measure(store: str) -> tuple[float, float]:
    """Return the tasks per second and the seconds of one task's round trip with this store."""
    with cluster(DISTQ_STORE=store) as client:

        def loop(count: int) -> None:
            futures = [client.submit(square, n) for n in range(count)]
            assert sum(future.result() for future in futures) == sum(n * n for n in range(count))

        loop(WARM_UP)
        rate = statistics.median(TASKS / seconds(lambda: loop(TASKS)) for _ in range(3))
        return rate, median_s(lambda: client.submit(square, 1).result(), TRIPS)


def main(database: str | None) -> None:
    """Measure, and print the figures with their limits."""
    with tempfile.TemporaryDirectory(prefix="distq-bench-", dir=Path.cwd()) as name:
        folder = Path(name)
        before_s = two_syncs(folder)
        rate, trip_s = measure(f"sqlite:///{folder / 'queue.db'}")
        syncs_s = statistics.median((before_s, two_syncs(folder)))
    allowed_s = ALLOWED * (syncs_s + ALLOWED_S)
    rows = [
        ("tasks/s, submitted in a loop", "30,000", f"{rate:,.0f}", f"{rate / 30_000:.1f} x"),
        ("round trip of one task, p50", time_text(allowed_s), time_text(trip_s), f"{allowed_s / trip_s:.2f} x"),
        ("two syncs alone", "-", time_text(syncs_s), "-"),
    ]
    if database is not None:
        on_database, database_trip_s = measure(database)
        rate_min, trip_max_s = POSTGRESQL_RATE_MIN * rate, POSTGRESQL_TRIP_MAX * trip_s
        rows += [
            ("tasks/s, PostgreSQL", f"{rate_min:,.0f}", f"{on_database:,.0f}", f"{on_database / rate_min:.2f} x"),
            (
                "round trip, PostgreSQL",
                time_text(trip_max_s),
                time_text(database_trip_s),
                f"{trip_max_s / database_trip_s:.2f} x",
            ),
        ]
    show("A sync for every commit", rows, ("", "required", "distq", "ratio"))


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else None)
