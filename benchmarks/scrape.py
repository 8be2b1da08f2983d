"""Measures a scrape of a master with 100 queues of 100 task names each, idle and under load."""

from __future__ import annotations

import statistics
import threading
import time
import urllib.request
from contextlib import ExitStack

from benchmarks.measure import seconds, show, time_text
from benchmarks.processes import AUTHKEY, master, worker
from benchmarks.tasks import square
from distq import Client

QUEUES, NAMES = 100, 100
SCRAPES = 30
PAUSE_S = 1.0
"""Seconds before a scrape: the master lets a scraper that leaves no pause wait for up to a second."""
LOAD = 5_000


def main() -> None:
    """Measure, and print the figures."""
    with ExitStack() as stack:
        running = stack.enter_context(master())
        assert running.http is not None
        url = f"http://{running.http[0]}:{running.http[1]}/metrics"
        stack.enter_context(worker(running, "benchmarks.tasks"))
        client = stack.enter_context(Client(f"{running.address[0]}:{running.address[1]}", AUTHKEY))
        for queue in range(QUEUES):
            options = client.options(queue=f"queue-{queue}", delay=3_600)  # counted, but never run
            for name in range(NAMES):
                options.submit_named(f"module.of.tasks:name_{name}")
        client.flush()
        page: list[bytes] = []

        def scrape() -> None:
            page[:] = [urllib.request.urlopen(url).read()]

        def scrape_s() -> float:
            time.sleep(PAUSE_S)
            return seconds(scrape)

        rest_s = [scrape_s() for _ in range(SCRAPES)]
        over = threading.Event()

        def load() -> None:
            while not over.is_set():
                for future in [client.submit(square, number) for number in range(LOAD)]:
                    future.result()

        thread = threading.Thread(target=load)
        thread.start()
        load_s = [scrape_s() for _ in range(SCRAPES)]
        over.set()
        thread.join()
        rows = [
            (what, time_text(statistics.median(times)), time_text(sorted(times)[-SCRAPES // 10]), time_text(max(times)))
            for what, times in (("at rest", rest_s), ("while tasks run", load_s))
        ]
        lines = page[0].count(b"\n")
        show(f"A scrape of {QUEUES} queues of {NAMES} task names, {lines:,} lines", rows, ("", "p50", "p90", "longest"))
        client.abandon()


if __name__ == "__main__":
    main()
