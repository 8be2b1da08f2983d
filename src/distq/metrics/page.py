"""The pages that Prometheus scrapes: the metrics of distq, and prometheus-client's metrics of the process."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator
from time import perf_counter
from typing import Final

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.exposition import generate_latest

from distq.metrics.collector import master_metrics, standby_metrics
from distq.metrics.view import MasterMetrics, StandbyMetrics, WorkerMetrics
from distq.metrics.worker import worker_metrics

Page = Callable[[], Awaitable[bytes]]
Slices = Callable[[], Iterator[str]]
"""A page in slices, each at most a few milliseconds of work."""

TURN_S: Final = 0.001
"""Seconds of formatting after which the event loop serves other requests: a busy loop takes milliseconds for a turn,
and most of the slices are a single line."""


def master_page(view: MasterMetrics) -> Page:
    """Return the page of a master."""
    return rendered(master_slices(view))


def standby_page(view: StandbyMetrics) -> Page:
    """Return the page of a master that stands by."""
    return rendered(_with_process(lambda: standby_metrics(view)))


def worker_page(view: WorkerMetrics) -> Page:
    """Return the page of a worker."""
    return rendered(worker_slices(view))


def master_slices(view: MasterMetrics) -> Slices:
    """Return the slices of a master's page."""
    return _with_process(lambda: master_metrics(view))


def worker_slices(view: WorkerMetrics) -> Slices:
    """Return the slices of a worker's page."""
    return _with_process(lambda: worker_metrics(view))


def _with_process(families: Callable[[], Iterable[str]]) -> Slices:
    process = CollectorRegistry(auto_describe=False)
    ProcessCollector(registry=process)

    def slices() -> Iterator[str]:
        yield from families()
        yield generate_latest(process).decode()

    return slices


def rendered(slices: Slices) -> Page:
    """Return a page that is rendered slice by slice, to keep the event loop free; concurrent scrapes share one."""
    writing: asyncio.Task[bytes] | None = None

    async def write() -> bytes:
        pieces = []
        began_at = perf_counter()
        for piece in slices():
            pieces.append(piece.encode())
            if perf_counter() - began_at >= TURN_S:
                await asyncio.sleep(0)
                began_at = perf_counter()
        return b"".join(pieces)

    async def page() -> bytes:
        nonlocal writing
        if writing is None or writing.done():
            writing = asyncio.create_task(write())
        return await asyncio.shield(writing)  # a scraper that disconnects does not cancel the page of the others

    return page
