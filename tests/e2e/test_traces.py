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
    record = _trace_of_program(grid)
    request, create = (_span_named(record["ours"], name) for name in ("request", "create tests.e2e.traced:fails_once"))
    assert (create["parent"], create["kind"]) == (request["span"], "PRODUCER")
    first, second = (span for span in record["theirs"] if span["name"] == "process tests.e2e.traced:fails_once")
    for run in (first, second):
        assert (run["trace"], run["parent"], run["kind"]) == (request["trace"], create["span"], "CONSUMER")
        assert run["attributes"]["messaging.message.id"] == record["task"]
        assert run["attributes"]["messaging.destination.name"] == "default"
    assert [run["attributes"]["distq.task.attempt"] for run in (first, second)] == [1, 2]
    assert (first["status"], first["why"]) == ("ERROR", "ValueError: not yet")
    assert second["status"] == "UNSET"
    within = _span_named(record["theirs"], "within")
    assert (within["trace"], within["parent"]) == (request["trace"], second["span"])
    (failed,) = worker.logs("task_failed", task=record["task"])
    assert failed["trace_id"] == request["trace"]
    assert record["bound"] == {"task": record["task"], "trace_id": request["trace"]}


def test_a_coroutine_and_a_chain_are_traced_too(grid: Cluster) -> None:
    """A submit outside of a span begins a trace; a chain is one submit."""
    grid.master()
    grid.run("worker", "tests.e2e.traced", "--concurrency", "1", *KINDS["thread"])
    record = _trace_of_program(grid)
    assert record["alone"] == _span_named(record["ours"], "create tests.e2e.traced:coroutine")["trace"]
    assert record["chained"] == _span_named(record["ours"], "create tests.e2e.traced:joined")["trace"]
    runs = [span["name"] for span in record["theirs"] if span["trace"] == record["chained"]]
    assert runs == ["process tests.e2e.traced:current_trace", "process tests.e2e.traced:joined"]


def _trace_of_program(grid: Cluster) -> Any:
    program = grid.run(f"127.0.0.1:{grid.port}", launcher=("-m", "tests.e2e.traced"))
    assert program.ends() == 0, program.text
    return json.loads(program.text.splitlines()[-1])


def _span_named(spans: list[dict[str, Any]], name: str) -> dict[str, Any]:
    (found,) = (span for span in spans if span["name"] == name)
    return found
