"""Measures the master's page with 10,000 queues and a million tasks, one request after another."""

from __future__ import annotations

import json
import statistics
import threading
import urllib.request
from collections.abc import Callable
from functools import partial

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
    "tasks of a rare name, the first part": "list?states=waiting&name=rare&limit=50",
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
        connection.call(
            "broker", "submit", (TASKS, [("rare", "rare", *[None] * 5)], [(0, 1)], [BODY], 0.0), timeout_s=60
        )
        newest = json.loads(_got(f"{url}list?limit=1"))["tasks"][0]["id"]
        paths = {what: url + path.format(id=newest) for what, path in REQUESTS.items()}
        lines = [_measured(what, partial(_got, path)) for what, path in paths.items()]
        search = paths["tasks of a rare name, the first part"]
        lines.append(_measured("tasks of a rare name, all parts", lambda: _searched(search)))
        over = threading.Event()
        searcher = threading.Thread(target=_search_until, args=(search, over))
        searcher.start()
        lines.append(_measured("one task, during such a search", lambda: _got(paths["one task"])))
        over.set()
        searcher.join()
        connection.close()
    show(f"The page with {QUEUES:,} queues and {TASKS:,} tasks", lines, ("", "p50", "longest", "bytes"))


def _got(url: str) -> bytes:
    with urllib.request.urlopen(url) as answer:
        return bytes(answer.read())


def _searched(url: str) -> bytes:
    """Search as the page does, part by part, and return the last answer."""
    page = _got(url)
    while following := json.loads(page)["next"]:
        page = _got(f"{url}&after={following}")
    return page


def _search_until(url: str, over: threading.Event) -> None:
    while not over.is_set():
        _searched(url)


def _measured(what: str, ask: Callable[[], bytes]) -> tuple[str, str, str, str]:
    """Return a line: how long requests take, and how much the last one sends."""
    page: list[bytes] = []

    def note() -> None:
        page[:] = [ask()]

    times = [seconds(note) for _ in range(TIMES)]
    return what, time_text(statistics.median(times)), time_text(max(times)), f"{len(page[0]):,}"


if __name__ == "__main__":
    main()
