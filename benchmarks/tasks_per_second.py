"""Measures tasks from client to worker and back, and a standard-library server in the same run."""

from __future__ import annotations

import statistics

from benchmarks.cluster import cluster
from benchmarks.measure import seconds, show, time_text
from benchmarks.processes import connect, recipe_workers, stdlib_server
from benchmarks.round_trip import apart
from benchmarks.tasks import square

TASKS = 200_000
RECIPE_TASKS = 10_000
ROUNDS = 7
"""Rounds of round trips, each with new processes: their placement on CPUs changes a figure by up to a third."""
CHUNK = 100
WARM_UP = 2_000


def recipe() -> float:
    """Return the tasks per second of a standard-library server."""
    with stdlib_server() as running, recipe_workers(running):
        work, result = connect(running.address)

        def all_of(count: int) -> None:
            for n in range(count):
                work.put(n)
            for _ in range(count):
                result.get()

        all_of(200)
        return RECIPE_TASKS / seconds(lambda: all_of(RECIPE_TASKS))


def distq() -> tuple[float, float]:
    """Return the tasks per second of distq, with submits in a loop and in chunks."""
    with cluster() as client:

        def loop(count: int) -> None:
            futures = [client.submit(square, n) for n in range(count)]
            assert sum(future.result() for future in futures) == sum(n * n for n in range(count))

        def chunks() -> None:
            assert sum(client.map(square, range(TASKS), chunksize=CHUNK)) == sum(n * n for n in range(TASKS))

        loop(WARM_UP)
        rates = [TASKS / seconds(lambda: loop(TASKS)) for _ in range(3)]
        chunked = [TASKS / seconds(chunks) for _ in range(3)]
        return statistics.median(rates), statistics.median(chunked)


def main() -> None:
    """Measure both, and print the figures."""
    recipe_rate = recipe()
    rate, chunked = distq()
    trips = [(apart("recipe"), apart("distq")) for _ in range(ROUNDS)]
    recipe_s, closed_s = (statistics.median(column) for column in zip(*trips, strict=True))
    rows = [
        ("tasks/s, submitted in a loop", f"{recipe_rate:,.0f}", f"{rate:,.0f}", f"{rate / recipe_rate:.1f} x"),
        (f"tasks/s, map in chunks of {CHUNK}", "-", f"{chunked:,.0f}", f"{chunked / recipe_rate:.1f} x"),
        ("round trip of one task, p50", time_text(recipe_s), time_text(closed_s), f"{recipe_s / closed_s:.2f} x"),
        *(
            (f"  in round {number}", time_text(one_s), time_text(other_s), f"{one_s / other_s:.2f} x")
            for number, (one_s, other_s) in enumerate(trips, 1)
        ),
    ]
    show("Two workers, a task that returns n * n", rows, ("", "standard library", "distq", "ratio"))


if __name__ == "__main__":
    main()
