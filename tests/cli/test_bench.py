"""The verdict and the report of `distq bench`."""

from typing import Any

import pytest

from distq.cli.bench import Figures, limit_of, machine_ticks, report

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
