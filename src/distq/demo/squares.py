"""Squares ten random numbers on a master and two workers of its own, as `distq demo` shows it."""

import random
from queue import Empty, Queue
from typing import Any, Final

import click

from distq.demo.cluster import DemoCluster, DemoFailed
from distq.demo.metrics import Samples, quantile, scrape, total
from distq.demo.screen import Screen, screen
from distq.managers import QueueManager
from distq.net.dial import CannotReach, dial
from distq.net.stop_signals import stop_signals

TASKS: Final = 10
WORKERS: Final = 2
NUMBER_MAX: Final = 10_000
RESULT_S: Final = 0.5
"""Length of one wait for a result in seconds; the demo checks its processes after each."""
WAITS_MAX: Final = 20
HANDLER: Final = "distq.demo.tasks:square"


def run() -> int:
    """Start a master and two workers, square ten random numbers, print the metrics, stop everything.

    Raises:
        DemoFailed: a process ended early, or did not answer in time.
    """
    cluster = DemoCluster()
    cluster.stop_request.listen(stop_signals())
    try:
        _start(cluster)
        _work(cluster)
        _measure(cluster)
    finally:
        codes = cluster.stop()
    ends = (f"{name} {'cleanly' if code == 0 else code}" for name, code in codes.items())
    click.echo(f"Stopped: {', '.join(ends)}.")
    return 0


def _start(cluster: DemoCluster) -> None:
    cluster.start("master", "master", DISTQ_HTTP_ADDRESS=str(cluster.http_address), DISTQ_STORE="memory:")
    cluster.wait_for(lambda: _reached(cluster), f"master at {cluster.address}")
    for number in range(1, WORKERS + 1):
        cluster.start(f"worker {number}", "worker", "--plain-handler", HANDLER, "--concurrency", "1")
    click.echo(f"A master listens at {cluster.address}, its metrics at http://{cluster.http_address}/metrics.")
    cluster.wait_for(lambda: _connected(cluster), "connected workers")
    click.echo(f"{WORKERS} workers are connected.")


def _reached(cluster: DemoCluster) -> bool | None:
    try:
        dial([cluster.address], cluster.authkey.encode(), timeout_s=1.0).close()
    except CannotReach:
        return None
    return True


def _connected(cluster: DemoCluster) -> bool | None:
    samples = scrape(cluster.http_address)
    return True if samples and total(samples, "distq_connections", role="executor") >= WORKERS else None


def _work(cluster: DemoCluster) -> None:
    """Put the numbers as a standard-library program does, and show each square when it arrives."""
    manager = QueueManager(cluster.address, cluster.authkey.encode())
    manager.connect()
    work, results = manager.get_work_queue(), manager.get_result_queue()
    with screen(TASKS) as shown:
        numbers = [random.randint(1, NUMBER_MAX) for _ in range(TASKS)]  # noqa: S311 - not a secret
        for number in numbers:
            work.put(number)
        shown.say(f"Put {TASKS} numbers on the work queue: {', '.join(map(str, numbers))}.")
        _collect(cluster, results, shown)


def _collect(cluster: DemoCluster, results: Queue[Any], shown: Screen) -> None:
    collected = waits = 0
    while collected < TASKS:
        cluster.check()
        try:
            number, square = results.get(timeout=RESULT_S)
        except Empty:
            waits += 1
            if waits == WAITS_MAX:
                raise DemoFailed(f"Only {collected} of {TASKS} results have arrived.") from None
        else:
            collected += 1
            shown.say(f"{number} * {number} = {square}")
            shown.advance()


def _measure(cluster: DemoCluster) -> None:
    samples = cluster.wait_for(lambda: _settled(cluster), "metrics of all tasks")
    depth = total(samples, "distq_queue_tasks", queue="work")
    p50, p95 = (quantile(samples, q, "distq_task_total_seconds", queue="work", task="plain") for q in (0.5, 0.95))
    click.echo(f"Queue depth {depth:.0f}; task latency p50 {p50 * 1000:.0f} ms, p95 {p95 * 1000:.0f} ms.")


def _settled(cluster: DemoCluster) -> Samples | None:
    samples = scrape(cluster.http_address)
    done = samples and total(samples, "distq_task_total_seconds_count", queue="work", task="plain")
    return samples if done == TASKS else None
