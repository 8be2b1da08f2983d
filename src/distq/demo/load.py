"""Submits a realistic load until SIGTERM or Ctrl-C: `python -m distq.demo.load`, Compose's profile `demo`.

The load moves every panel of the dashboards: short and long tasks on three queues, failures and retries, a task that
kills its executor, time limits, delays, groups, a schedule, and a burst every 45 seconds.
"""

from __future__ import annotations

import random
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable
from typing import Any, Final, NoReturn

import click

import distq
from distq.core.errors import DistqError
from distq.demo import tasks
from distq.net.stop_request import StopRequest

PAUSE_S: Final = 0.08
"""Mean pause between two submits."""
BURST_EVERY_S: Final = 45.0
BURST: Final = 400
"""Short tasks of one burst: more than the demo's workers have slots, so that tasks wait."""
LARGE: Final = 100
LARGE_BYTES: Final = 200_000
"""Tasks with a large payload in one burst; together they make a slow commit."""
MAIL: Final[dict[str, Any]] = {"queue": "mail", "priority": 8}
REPORTS: Final[dict[str, Any]] = {"queue": "reports", "priority": 2}
PRINT_EVERY_S: Final = 10.0
GROUP: Final = 8
FUTURES_KEPT: Final = 200
"""Newest futures that the load keeps a reference to."""


class Load:
    """The load of one client: each call of `step` submits a task of a kind drawn by lot."""

    def __init__(self, client: distq.Client, dice: random.Random) -> None:
        self.client = client
        self.dice = dice
        self.submitted: Counter[str] = Counter()
        self.futures: list[distq.TaskFuture[Any]] = []
        mail, reports = client.options(**MAIL), client.options(**REPORTS)
        self.kinds: dict[str, tuple[int, Callable[[], Any]]] = {
            "fetch": (60, lambda: client.submit(tasks.fetch, self.seconds(0.1))),
            "mail": (40, lambda: mail.submit(tasks.send, self.seconds(0.02))),
            "report": (5, lambda: reports.submit(tasks.render, self.seconds(1.0))),
            "later": (5, lambda: client.options(**MAIL, delay=0.1 + dice.random() * 30).submit(tasks.send, 0.02)),
            "in time": (3, lambda: client.options(**REPORTS, expires=2).submit(tasks.render, self.seconds(0.5))),
            "once": (5, lambda: client.options(unique_key="sync").submit(tasks.fetch, 1.0)),
            "of a tenant": (10, self.of_a_tenant),
            "group": (1, self.group),
            "changed my mind": (2, lambda: client.options(delay=20).submit(tasks.fetch, 0.1).cancel()),
            "hangs": (1, lambda: client.submit(tasks.hangs)),
            "fails": (1, lambda: client.submit(tasks.fails)),
            "crashes": (1, lambda: client.options(max_deliveries=2).submit(tasks.crashes)),
        }

    def seconds(self, median: float) -> float:
        """Draw a task's run time in seconds: log-normal around `median`, at most 20."""
        return min(self.dice.lognormvariate(0.0, 1.0) * median, 20.0)

    def of_a_tenant(self) -> distq.TaskFuture[Any]:
        """Submit a task of one of five tenants; of each tenant at most two run at the same time."""
        tenant = f"tenant {self.dice.randrange(5)}"
        return self.client.options(concurrency_key=tenant, concurrency=2).submit(tasks.fetch, self.seconds(0.1))

    def group(self) -> distq.TaskFuture[Any]:
        """Submit a group of tasks, and a task that runs after all of them."""
        calls = [distq.call(tasks.fetch, self.seconds(0.1)) for _ in range(GROUP)]
        return self.client.group(calls, then=distq.call(tasks.summed).options(queue="reports"))

    def burst(self) -> None:
        """Submit more tasks than the workers have slots, and a commit that takes the disk long."""
        for _ in range(BURST):
            self.client.submit(tasks.fetch, self.seconds(0.05))
        for _ in range(LARGE):
            self.client.options(queue="mail").submit(tasks.send, 0.001, b"x" * LARGE_BYTES)
        self.submitted["in a burst"] += BURST + LARGE

    def step(self) -> None:
        """Submit one task of a kind drawn by lot."""
        weights = [weight for weight, _ in self.kinds.values()]
        (kind,) = self.dice.choices(list(self.kinds), weights)
        _, submit = self.kinds[kind]
        self.futures.append(submit())
        self.submitted[kind] += 1
        del self.futures[:-FUTURES_KEPT]


def run(client: distq.Client, stop: StopRequest) -> NoReturn:
    """Submit the load until `stop` raises."""
    load = Load(client, random.Random())  # noqa: S311 - a load, no secret
    client.options(every=5, queue="mail").schedule("demo", tasks.send, 0.05)
    burst_at = printed_at = _now() + PRINT_EVERY_S
    while True:
        stop.check()
        load.step()
        if _now() >= burst_at:
            load.burst()
            burst_at = _now() + BURST_EVERY_S
        if _now() >= printed_at:
            printed_at = _now() + PRINT_EVERY_S
            counts = ", ".join(f"{count:,} {kind}" for kind, count in load.submitted.most_common())
            click.echo(f"submitted so far: {counts}")
        time.sleep(load.dice.expovariate(1 / PAUSE_S))


def main() -> None:
    """Submit the load to the master that the environment names."""
    stop = StopRequest()
    stop.listen((signal.SIGTERM, signal.SIGINT))
    try:
        with distq.Client() as client:
            try:
                run(client, stop)
            except (KeyboardInterrupt, SystemExit):
                client.abandon()
    except DistqError as error:
        click.echo(f"distq: {error} {error.hint}".rstrip(), err=True)
        sys.exit(error.exit_code)


_now = time.monotonic  # noqa: TID251 - the load runs in real time

if __name__ == "__main__":
    main()
