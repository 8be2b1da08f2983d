"""The whole way of a task, client to worker and back, against the bare recipe in the same run."""

from __future__ import annotations

import statistics
import threading
import urllib.request
from contextlib import ExitStack

from benchmarks.measure import seconds, show, time_text
from benchmarks.processes import AUTHKEY, Running, connect, master, recipe_workers, stock_server, worker
from benchmarks.tasks import square
from distq import Client

TASKS = 200_000
RECIPE_TASKS = 10_000
CLOSED = 2_000
CHUNK = 100
SCRAPE_S = 5.0
WARM_UP = 2_000


def recipe() -> tuple[float, float]:
    """The recipe's tasks a second, and its median round trip in seconds."""
    with stock_server() as running, recipe_workers(running):
        work, result = connect(running.address)

        def all_of(count: int) -> None:
            for n in range(count):
                work.put(n)
            for _ in range(count):
                result.get()

        def one() -> None:
            work.put(1)
            result.get()

        all_of(200)
        took_s = seconds(lambda: all_of(RECIPE_TASKS))
        return RECIPE_TASKS / took_s, statistics.median(seconds(one) for _ in range(CLOSED))


def scrape(running: Running, stop: threading.Event) -> None:
    """Read /metrics as Prometheus would, until told to stop."""
    assert running.http is not None
    url = f"http://{running.http[0]}:{running.http[1]}/metrics"
    while not stop.wait(SCRAPE_S):
        urllib.request.urlopen(url).read()


def distq() -> tuple[float, float, float]:
    """Return distq's tasks a second by submits in a loop and by chunks, and its median round trip in seconds."""
    stop = threading.Event()
    with ExitStack() as stack:
        running = stack.enter_context(master())
        stack.enter_context(worker(running, "benchmarks.tasks"))
        client = stack.enter_context(Client(f"{running.address[0]}:{running.address[1]}", AUTHKEY))
        scraper = threading.Thread(target=scrape, args=(running, stop))
        scraper.start()
        stack.callback(scraper.join)
        stack.callback(stop.set)

        def loop(count: int) -> None:
            futures = [client.submit(square, n) for n in range(count)]
            assert sum(future.result() for future in futures) == sum(n * n for n in range(count))

        def chunks() -> None:
            assert sum(client.map(square, range(TASKS), chunksize=CHUNK)) == sum(n * n for n in range(TASKS))

        loop(WARM_UP)
        rates = [TASKS / seconds(lambda: loop(TASKS)) for _ in range(3)]
        chunked = [TASKS / seconds(chunks) for _ in range(3)]
        closed_s = statistics.median(seconds(lambda: client.submit(square, 1).result()) for _ in range(CLOSED))
        return statistics.median(rates), statistics.median(chunked), closed_s


def main() -> None:
    """Measure both, print them side by side."""
    recipe_rate, recipe_s = recipe()
    rate, chunked, closed_s = distq()
    rows = [
        ("tasks/s, submitted in a loop", f"{recipe_rate:,.0f}", f"{rate:,.0f}", f"{rate / recipe_rate:.1f} x"),
        (f"tasks/s, map in chunks of {CHUNK}", "-", f"{chunked:,.0f}", f"{chunked / recipe_rate:.1f} x"),
        ("round trip of one task, p50", time_text(recipe_s), time_text(closed_s), f"{recipe_s / closed_s:.2f} x"),
    ]
    show("Two workers, a task that returns n * n", rows, ("", "bare recipe", "distq", "ratio"))


if __name__ == "__main__":
    main()
