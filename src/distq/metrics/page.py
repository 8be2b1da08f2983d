"""The pages that Prometheus scrapes: the metrics of distq, and prometheus-client's metrics of the process.

They are rendered in the process that serves tasks, so scrapers share its time: those that ask at the same time share
one rendering, and those that ask without a pause wait for the next one, which is always of the time after they asked.
"""

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
SHARE: Final = 0.1
"""Part of the time that the renderings and answers of one page may take."""
ANSWER_S: Final = 0.001
"""Seconds that one answer costs beside its rendering: a connection, the request's head, and the answer's."""
PAUSE_S_MAX: Final = 1.0
"""Maximum seconds between two renderings of a page."""


class Pace:
    """Keeps the renderings of a page, or of several together, one after the other, with pauses by what they cost."""

    def __init__(self) -> None:
        self._turn = asyncio.Lock()
        self.next_at = 0.0
        """When the next rendering may begin, in seconds of the event loop's clock."""

    async def begin(self) -> None:
        """Wait for the end of the rendering before, and of its pause."""
        await self._turn.acquire()
        await asyncio.sleep(self.next_at - asyncio.get_running_loop().time())

    def end(self, cost_s: float) -> None:
        """Note what a rendering and its answers cost; the next one begins after a pause."""
        self.next_at = asyncio.get_running_loop().time() + min(cost_s / SHARE, PAUSE_S_MAX)
        self._turn.release()


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


def rendered(slices: Slices, pace: Pace | None = None) -> Page:
    """Return a page that is rendered slice by slice, to keep the event loop free; concurrent scrapes share one.

    Pages with the same `pace` are rendered one after the other.
    """
    writing: asyncio.Task[bytes] | None = None
    paced, answers, turn = pace or Pace(), 0, asyncio.Lock()

    async def write() -> bytes:
        nonlocal answers
        await paced.begin()
        pieces, cost_s = [], 0.0
        try:
            began_at = perf_counter()
            for piece in slices():
                pieces.append(piece.encode())
                if (worked_s := perf_counter() - began_at) >= TURN_S:
                    cost_s += worked_s
                    await asyncio.sleep(0)
                    began_at = perf_counter()
            cost_s += perf_counter() - began_at
        finally:
            paced.end(cost_s + ANSWER_S * answers)
            answers = 0
        return b"".join(pieces)

    async def page() -> bytes:
        nonlocal writing, answers
        if writing is None or writing.done():
            writing = asyncio.create_task(write())
        answers += 1
        page = await asyncio.shield(writing)  # a scraper that disconnects does not cancel the page of the others
        async with turn:
            await asyncio.sleep(0)  # each turn of the event loop sends one of the answers that wait for this page
        return page

    return page
