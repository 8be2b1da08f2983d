"""The verdict and the report of `distq bench`."""

from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import pytest

from distq.cli import bench
from distq.cli.bench import Figures, limit_of, machine_ticks, report
from distq.settings import Role, load

IDLE = Figures(
    task="shop.tasks:ping",
    round_trip_s=0.0005,
    latency_p50_s=0.003,
    latency_p95_s=0.004,
    tasks=1000,
    duration_s=2.0,
    tasks_per_s=500.0,
    slots=4,
    executors_busy=0.1,
    commits=10,
    commit_s=0.001,
    committing=0.005,
    master_cpu=0.1,
    client_cpu=0.1,
    machine_cpu=0.3,
    failed=0,
)


@pytest.mark.parametrize(
    ("measured", "limit"),
    [
        ({}, "Round trips limit"),
        ({"executors_busy": 0.9}, "The executors limit the throughput: no slot is free, of 4."),
        ({"executors_busy": 0.9, "committing": 0.8}, "The store's commits limit"),
        ({"master_cpu": 0.9, "machine_cpu": 1.0}, "The master's CPU limits"),
        ({"client_cpu": 0.9}, "This client's CPU limits"),
        ({"machine_cpu": 1.0, "executors_busy": 1.0}, "The CPU of this machine limits"),
    ],
)
def test_the_limit_is_the_part_that_is_busy(measured: dict[str, Any], limit: str) -> None:
    """A busy part before the executors keeps them busy too, so it comes first."""
    assert limit_of(IDLE._replace(**measured)).startswith(limit)


def test_the_report_has_the_parts_of_the_latency() -> None:
    """Failures have a line of their own if there are any."""
    lines = report(IDLE, "the limit").splitlines()
    assert "latency     3.00 ms from submit to result (95 of 100 within 4.00 ms)" in lines
    assert "            of it: round trip 0.50 ms, commit 1.00 ms, rest 1.50 ms" in lines
    assert "throughput  500 tasks/s (1,000 tasks in 2.00 s)" in lines
    assert not [line for line in lines if line.startswith("failed")]
    assert "failed      1 task failed" in report(IDLE._replace(failed=1), "").splitlines()


def test_the_machine_has_used_less_than_all_its_time() -> None:
    """The figures of /proc/stat grow."""
    used, total = machine_ticks()
    assert 0 < used < total


def test_the_task_of_an_interrupted_submit_is_cancelled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C may come after the master has accepted the task, and before the benchmark has its future."""
    calls: list[Any] = []

    class Interrupted:
        """A client whose submit is accepted and then interrupted, and a connection that keeps the calls."""

        def options(self, **_: object) -> "Interrupted":
            return self

        def submit_named(self, *_: object) -> None:
            raise KeyboardInterrupt

        def flush(self, _timeout: float) -> bool:
            return True

        def pending_futures(self) -> list[Any]:
            return [SimpleNamespace(task_id="1-2")]

        def call(self, _ident: str, _method: str, args: Any, timeout_s: float) -> None:
            assert timeout_s > 0
            calls.append(args)

    fake: Any = Interrupted()
    monkeypatch.setattr(bench, "master", lambda *_: nullcontext(fake))
    monkeypatch.setattr("distq.client.client.sessions_at", lambda _: [fake])
    measured = bench.Bench(fake, fake, bench.TASK, "mine")
    with pytest.raises(KeyboardInterrupt):
        measured.run(1.0)
    measured.clean_up(load({"DISTQ_AUTHKEY": "k" * 32}, Role.CLIENT).settings)
    assert calls == [("cancel", {"ids": ["1-2"], "running": True})]
