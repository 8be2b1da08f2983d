"""Measures `distq.AsyncClient` next to `distq.Client` in the same run, on the event loops of asyncio and of uvloop."""

from __future__ import annotations

import asyncio
import statistics
from collections.abc import Callable, Coroutine
from time import perf_counter
from typing import Any

import uvloop

from benchmarks.cluster import cluster
from benchmarks.measure import median_s, seconds, show, time_text
from benchmarks.processes import AUTHKEY
from benchmarks.tasks import square
from distq import AsyncClient, Client

TASKS = 50_000
TRIPS = 1_000
WARM_UP = 2_000
ROUNDS = 3
"""Rounds in which each client has its turn, so that a change of the machine's load reaches all of them."""

Figures = tuple[float, float]
"""Tasks per second of a loop of submits, and the median seconds of one task's round trip."""

Run = Callable[[Coroutine[Any, Any, Figures]], Figures]


def threaded(client: Client) -> Figures:
    """Measure the client of threads."""

    def loop(count: int) -> None:
        futures = [client.submit(square, n) for n in range(count)]
        assert sum(future.result() for future in futures) == sum(n * n for n in range(count))

    loop(WARM_UP)
    rate = TASKS / seconds(lambda: loop(TASKS))
    return rate, median_s(lambda: client.submit(square, 1).result(), TRIPS)


async def on_a_loop(address: str) -> Figures:
    """Measure the client of asyncio."""

    async def loop(count: int) -> None:
        futures = [await client.submit(square, n) for n in range(count)]
        assert sum([await future for future in futures]) == sum(n * n for n in range(count))

    async with AsyncClient(address, AUTHKEY) as client:
        await loop(WARM_UP)
        began = perf_counter()
        await loop(TASKS)
        rate = TASKS / (perf_counter() - began)
        trips = []
        for _ in range(TRIPS):
            began = perf_counter()
            await (await client.submit(square, 1))
            trips.append(perf_counter() - began)
    return rate, statistics.median(trips)


def main() -> None:
    """Measure all of them in turn, and print the medians."""
    runners: dict[str, Run] = {"asyncio": asyncio.run, "uvloop": uvloop.run}
    found: dict[str, list[Figures]] = {"threads": [], **{name: [] for name in runners}}
    with cluster() as client:
        address = ",".join(map(str, client._session.addresses))  # noqa: SLF001 - a client has no other word for it
        for _ in range(ROUNDS):
            found["threads"].append(threaded(client))
            for name, run in runners.items():
                found[name].append(run(on_a_loop(address)))
    rates, trips = ({name: statistics.median(column) for name, column in columns} for columns in _columns(found))
    rows = [
        _row("tasks/s, submitted in a loop", [f"{rates[name]:,.0f}" for name in found]),
        _row("  ratio to threads", [f"{rates[name] / rates['threads']:.2f} x" for name in found]),
        _row("round trip of one task, p50", [time_text(trips[name]) for name in found]),
        _row("  ratio to threads", [f"{trips[name] / trips['threads']:.2f} x" for name in found]),
    ]
    show("Two workers, a task that returns n * n", rows, ("", "threads", "asyncio", "uvloop"))


def _row(head: str, texts: list[str]) -> tuple[str, str, str, str]:
    threads, plain, fast = texts
    return head, threads, plain, fast


def _columns(found: dict[str, list[Figures]]) -> list[list[tuple[str, list[float]]]]:
    """Return the rates and the round trips of each client."""
    return [[(name, [figures[at] for figures in rounds]) for name, rounds in found.items()] for at in range(2)]


if __name__ == "__main__":
    main()
