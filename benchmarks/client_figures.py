"""The figures that benchmarks of a whole cluster compare: tasks per second, a round trip, and large tasks."""

from __future__ import annotations

from benchmarks.measure import seconds
from benchmarks.round_trip import median_of
from benchmarks.tasks import square
from distq import Client

LARGE_BYTES = 1 << 20
"""Bytes of the argument and of the result of a large task."""

Figures = tuple[float, float, float]
"""Tasks per second, seconds of a round trip, megabytes per second through a task."""


def figures_of(client: Client, tasks: int, large_tasks: int) -> Figures:
    """Return the figures of the client's cluster, which runs numbers of small and of large tasks."""

    def loop() -> None:
        futures = [client.submit(square, n) for n in range(tasks)]
        assert sum(future.result() for future in futures) == sum(n * n for n in range(tasks))

    def large() -> None:
        body = bytes(LARGE_BYTES)
        assert all(len(one) == LARGE_BYTES for one in client.map(bytes, [body] * large_tasks))

    loop()
    rate = tasks / seconds(loop)
    trip_s = median_of(lambda: client.submit(square, 1).result())
    return rate, trip_s, 2 * large_tasks * LARGE_BYTES / 1e6 / seconds(large)
