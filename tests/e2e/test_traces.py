"""Tests of OpenTelemetry: a submit and its runs are one trace, and log events contain its id."""

import json
from typing import Any

import pytest
from tests.e2e.cluster import Cluster

KINDS = {"process": (), "thread": ("--executor", "thread", "--executor-tasks", "3")}


@pytest.mark.parametrize("executor", KINDS)
def test_a_submit_and_its_runs_are_one_trace_over_retries(grid: Cluster, executor: str) -> None:
    """Each attempt is a span below the span of the request, and the failed one has a reason."""
    grid.master()
    worker = grid.run("worker", "tests.e2e.traced", "--concurrency", "1", *KINDS[executor])
    told = _told(grid)
    request, create = (_one(told["ours"], name) for name in ("request", "create tests.e2e.traced:fails_once"))
    assert (create["parent"], create["kind"]) == (request["span"], "PRODUCER")
    first, second = (one for one in told["theirs"] if one["name"] == "process tests.e2e.traced:fails_once")
    for run in (first, second):
        assert (run["trace"], run["parent"], run["kind"]) == (request["trace"], create["span"], "CONSUMER")
        assert run["attributes"]["messaging.message.id"] == told["task"]
        assert run["attributes"]["messaging.destination.name"] == "default"
    assert [run["attributes"]["distq.task.attempt"] for run in (first, second)] == [1, 2]
    assert (first["status"], first["why"]) == ("ERROR", "ValueError: not yet")
    assert second["status"] == "UNSET"
    within = _one(told["theirs"], "within")
    assert (within["trace"], within["parent"]) == (request["trace"], second["span"])
    (failed,) = worker.logs("task_failed", task=told["task"])
    assert failed["trace_id"] == request["trace"]
    assert told["bound"] == {"task": told["task"], "trace_id": request["trace"]}


def test_a_coroutine_and_a_chain_are_traced_too(grid: Cluster) -> None:
    """A submit outside of a span begins a trace; a chain is one submit."""
    grid.master()
    grid.run("worker", "tests.e2e.traced", "--concurrency", "1", *KINDS["thread"])
    told = _told(grid)
    assert told["alone"] == _one(told["ours"], "create tests.e2e.traced:coroutine")["trace"]
    assert told["chained"] == _one(told["ours"], "create tests.e2e.traced:joined")["trace"]
    runs = [one["name"] for one in told["theirs"] if one["trace"] == told["chained"]]
    assert runs == ["process tests.e2e.traced:current_trace", "process tests.e2e.traced:joined"]


def _told(grid: Cluster) -> Any:
    program = grid.run(f"127.0.0.1:{grid.port}", launcher=("-m", "tests.e2e.traced"))
    assert program.ends() == 0, program.text
    return json.loads(program.text.splitlines()[-1])


def _one(spans: list[dict[str, Any]], name: str) -> dict[str, Any]:
    (found,) = (one for one in spans if one["name"] == name)
    return found
