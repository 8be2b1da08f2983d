"""The pages that Prometheus scrapes: our own metrics, and what prometheus-client tells of any process."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.exposition import generate_latest

from distq.metrics.collector import master_metrics
from distq.metrics.view import MasterMetrics, WorkerMetrics
from distq.metrics.worker import worker_metrics

Page = Callable[[], Awaitable[bytes]]
Slices = Callable[[], Iterator[str]]
"""A page in slices, each a few milliseconds of work."""


def master_page(view: MasterMetrics) -> Page:
    """What a scrape of a master is answered."""
    return rendered(master_slices(view))


def worker_page(view: WorkerMetrics) -> Page:
    """What a scrape of a worker is answered."""
    return rendered(worker_slices(view))


def master_slices(view: MasterMetrics) -> Slices:
    """The master's page."""
    return _with_process(lambda: master_metrics(view))


def worker_slices(view: WorkerMetrics) -> Slices:
    """The worker's page."""
    return _with_process(lambda: worker_metrics(view))


def _with_process(families: Callable[[], Iterable[str]]) -> Slices:
    process = CollectorRegistry(auto_describe=False)
    ProcessCollector(registry=process)

    def slices() -> Iterator[str]:
        yield from families()
        yield generate_latest(process).decode()

    return slices


def rendered(slices: Slices) -> Page:
    """A page that is written slice by slice, with everything else between them; who asks meanwhile shares it."""
    writing: asyncio.Task[bytes] | None = None

    async def write() -> bytes:
        pieces = []
        for piece in slices():
            pieces.append(piece.encode())
            await asyncio.sleep(0)
        return b"".join(pieces)

    async def page() -> bytes:
        nonlocal writing
        if writing is None or writing.done():
            writing = asyncio.create_task(write())
        return await asyncio.shield(writing)  # a scraper that has gone takes nothing from the others

    return page
