"""How executors end in a real container, as the worker counts it and the tasks' clients see it."""

import signal
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from tests.kit import tasks
from tests.kit.engine.stack import ON_IMAGES, metric, stack, with_test_tasks
from tests.kit.shell import wait_for_value

import distq
from distq.metrics.worker import CAUSES

pytestmark = ON_IMAGES

MEMORY = {"mem_limit": "256m", "memswap_limit": "256m"}
"""Room for the supervisor, two executors and the programs that read the metrics, but not for `tasks.fill`."""
TASKS_OF_AN_EXECUTOR = 20


def go_wrong(client: distq.Client) -> list[str]:
    """Return the error that the client gets for each cause of an executor's end."""
    futures: list[Future[Any]] = [
        client.submit(tasks.fill, 1 << 30),
        client.submit(tasks.count, 10**12),
        client.submit(tasks.end, 3),
        client.submit(tasks.end, -signal.SIGSEGV),
    ]
    return [str(future.exception(timeout=60)) for future in futures]


def test_every_cause_of_an_end_is_reported_and_counted(images: None, tmp_path: Path) -> None:
    """The causes are memory, a time limit, an ignored stop, an exit code, a signal, recycling, and a thread."""
    recycling = {"DISTQ_MAX_TASKS": str(TASKS_OF_AN_EXECUTOR), "DISTQ_CONCURRENCY": "2"}
    with stack(with_test_tasks(tmp_path, MEMORY, DISTQ_TASKS="tasks.test", **recycling)) as project:
        project.up("master", "worker", scale=1)
        [container] = project.containers("worker")
        client = project.client()
        try:
            memory, limit, code, by_signal = go_wrong(client)
            assert "out of memory" in memory
            assert "exceeded time limit 0.5 s" in limit
            assert "exit code 3" in code
            assert "killed by SIGSEGV" in by_signal
            stopped = client.submit(tasks.ignores_every_stop)
            wait_for_value(
                stopped.running, bool, within_s=30
            )  # the master knows it; the metric shows it a little later
            wait_for_value(
                lambda: metric(container, 'distq_worker_executors{pool="default",state="busy"'),
                lambda busy: busy == 1,
                within_s=30,
            )
            assert stopped.abort()
            client.submit(tasks.linger).result(timeout=60)
            rested = client.map(tasks.nap, [0.0] * TASKS_OF_AN_EXECUTOR * 3, timeout=60)
            assert len(list(rested)) == TASKS_OF_AN_EXECUTOR * 3
        finally:
            client.abandon()

        def exits() -> dict[str, float]:
            series = 'distq_worker_executor_exits_total{{pool="default",cause="{}"'
            return {cause: metric(container, series.format(cause)) for cause in CAUSES}

        found = wait_for_value(exits, lambda counts: all(counts.values()), within_s=60)
        assert {**found, "recycle": 1} == dict.fromkeys(CAUSES, 1)
