"""A master, a worker and a client for a benchmark, with default settings and regular scrapes."""

from __future__ import annotations

import threading
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from benchmarks.processes import AUTHKEY, Running, master, worker
from distq import Client

SCRAPE_S = 5.0
"""Seconds between two scrapes, as with Prometheus."""


def scrape(running: Running, stop: threading.Event) -> None:
    """Read /metrics as Prometheus does, until `stop` is set."""
    assert running.http is not None
    url = f"http://{running.http[0]}:{running.http[1]}/metrics"
    while not stop.wait(SCRAPE_S):
        urllib.request.urlopen(url).read()


@contextmanager
def cluster(**environ: str) -> Iterator[Client]:
    """Yield a client of a master with a worker; a thread scrapes the master."""
    stop = threading.Event()
    with ExitStack() as stack:
        running = stack.enter_context(master(**environ))
        stack.enter_context(worker(running, "benchmarks.tasks"))
        scraper = threading.Thread(target=scrape, args=(running, stop))
        scraper.start()
        stack.callback(scraper.join)
        stack.callback(stop.set)
        yield stack.enter_context(Client(f"{running.address[0]}:{running.address[1]}", AUTHKEY))
