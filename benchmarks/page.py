"""Measures the master's page with 10,000 queues and a million tasks, one request after another."""

from __future__ import annotations

import json
import statistics
import urllib.request
from typing import Any

from benchmarks.many_tasks import BATCH, BODY, client_of
from benchmarks.measure import seconds, show, time_text
from benchmarks.processes import master

QUEUES, TASKS = 9_990, 1_000_000
"""A master has at most 10,000 queues, of which some are its own."""
QUEUES_A_CALL = 10
TIMES = 20
REQUESTS = {
    "the queues with most tasks": "live?view=queues&limit=50",
    "queues by a part of the name": "live?view=queues&filter=-777&limit=50",
    "the first tasks": "list?states=waiting&limit=50",
    "tasks of a name that is not there": "list?states=waiting&name=none&limit=50",
    "one task": "show?id={id}",
    "dead letters": "dead_list?limit=50",
    "schedules": "schedule_list",
}


def main() -> None:
    """Measure, and print the figures."""
    with master() as running:
        assert running.http is not None
        url = f"http://{running.http[0]}:{running.http[1]}/page/read/"
        connection = client_of(running)
        for number in range(1, 1 + TASKS // BATCH):
            names = [f"queue-{(number * QUEUES_A_CALL + at) % QUEUES}" for at in range(QUEUES_A_CALL)]
            envelopes = [(name, "module:task", None, None, None, None, None) for name in names]
            rows = [(at, BATCH // QUEUES_A_CALL) for at in range(QUEUES_A_CALL)]
            connection.call("broker", "submit", (number, envelopes, rows, [BODY] * BATCH, 0.0), timeout_s=60)
        newest = json.loads(urllib.request.urlopen(f"{url}list?limit=1").read())["tasks"][0]["id"]
        lines = [_measured(what, url + path.format(id=newest)) for what, path in REQUESTS.items()]
        connection.close()
    show(f"The page with {QUEUES:,} queues and {TASKS:,} tasks", lines, ("", "p50", "longest", "bytes"))


def _measured(what: str, url: str) -> tuple[str, str, str, str]:
    """Return a line: how long a request takes, and how much it sends."""
    page: list[Any] = []

    def ask() -> None:
        page[:] = [urllib.request.urlopen(url).read()]

    times = [seconds(ask) for _ in range(TIMES)]
    return what, time_text(statistics.median(times)), time_text(max(times)), f"{len(page[0]):,}"


if __name__ == "__main__":
    main()
