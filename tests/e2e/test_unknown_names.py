"""Tests of a task name without a function: the worker's log, `distq status` and the client report it."""

import logging
from pathlib import Path

import pytest
from tests.e2e.cluster import Cluster
from tests.waiting import eventually

NAME = "late_tasks:add"


def test_an_unknown_task_name_is_reported_everywhere_and_runs_once_its_module_appears(
    grid: Cluster, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The module appears while the worker runs; then the waiting task runs without a restart."""
    grid.master()
    worker = grid.run("worker", PYTHONPATH=str(tmp_path))
    with grid.client() as client, caplog.at_level(logging.WARNING, "distq"):
        future = client.submit_named(NAME, [1, 2])
        (event,) = worker.logs("executor_troubled")
        assert event["level"] == "warning"
        assert f"This worker cannot run {NAME} and hands it back" in event["reason"]
        eventually(lambda: any("waits." in one.getMessage() for one in caplog.records), "the client warns")
        assert f"none knows a task '{NAME}'" in caplog.text
        status = grid.run("status")
        assert status.ends() == 0
        assert f"has no function for {NAME}; its log has the reason. The master retries these tasks." in status.text
        (tmp_path / "late_tasks.py").write_text("def add(a, b): return a + b\n")
        assert future.result(20) == 3
