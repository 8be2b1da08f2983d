"""Tests of the output of tasks: JSON events in the worker's log, with the task's id, of which a crash loses none."""

import json
from pathlib import Path
from typing import Any

import pytest
from tests.e2e import talking
from tests.e2e.cluster import Cluster, Event, Process
from tests.e2e.holding import go
from tests.waiting import eventually

KINDS = ("process", "thread")


def worker(grid: Cluster, kind: str = "process", **settings: str) -> Process:
    """Start a worker with one executor of the given kind."""
    arguments = ("worker", "tests.e2e.talking", "--concurrency", "1", "--executor", kind)
    return grid.run(*arguments, **{"DISTQ_LOG_LEVEL": "info", **settings})


def about(events: list[Event], *fields: str) -> list[tuple[Any, ...]]:
    """Return some fields of events."""
    return [tuple(event.get(field) for field in fields) for event in events]


def all_json(process: Process) -> None:
    """Return whether every log line is a JSON object."""
    for line in process.text.split("\n")[:-1]:
        assert isinstance(json.loads(line), dict)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("way", ["kill", "fault"])
def test_the_output_of_a_task_before_a_crash_is_logged(grid: Cluster, kind: str, way: str) -> None:
    """A SIGKILL or a fault in C ends the task; the fault's stack is logged, too."""
    grid.master()
    at_work = worker(grid, kind)
    with grid.client() as client:
        future = client.submit(talking.prints_and_dies, way)
        assert future.exception(15)
    at_work.logs("executor_died")
    events = at_work.logs("task_printed", text="the last line") + at_work.logs("task_printed", text="and half of one")
    assert about(events, "task", "stream") == [(future.task_id, "stdout"), (future.task_id, "stderr")]
    if way == "fault":
        at_work.logs("task_printed", text="Fatal Python error: Segmentation fault", stream="output")
    all_json(at_work)


def test_output_of_c_code_and_programs_is_logged(grid: Cluster, held: Path) -> None:
    """The events have the id of the task, which has run for a short time."""
    grid.master()
    at_work = worker(grid)
    with grid.client() as client:
        future = client.submit(talking.prints_past_python, str(held))
        try:
            eventually(lambda: future.progress() is not None, "its progress")
            assert grid.run("stack", future.task_id or "").ends() == 0  # the supervisor has seen the task by then
        finally:
            go(held)
        future.result(15)
    for text in ("from descriptor one", "from a program", "and its errors"):
        (event,) = at_work.logs("task_printed", text=text)
        assert (event["task"], event["stream"]) == (future.task_id, "output")


@pytest.mark.parametrize("kind", KINDS)
def test_logging_of_tasks_is_logged_at_its_level(grid: Cluster, kind: str) -> None:
    """The task uses custom levels, wrong arguments, tracebacks, extra fields and warnings."""
    grid.master()
    at_work = worker(grid, kind)
    with grid.client() as client:
        future = client.submit(talking.logs)
        future.result(15)
    at_work.logs("task_logged", message="heard all the same", level="warning")
    events = at_work.events("task_logged", task=future.task_id)
    assert about(events, "level", "level_name", "message")[:4] == [
        ("info", None, "three of 3"),
        ("info", "Level 25", "a notice"),
        ("critical", "Level 60", "above critical"),
        ("warning", None, "'%d items' with ('many',) (it cannot be formatted: TypeError)"),
    ]
    assert events[0]["logger"] == "shop.orders"
    assert events[0]["extra"]["order"] == 17
    assert events[4]["exception"].endswith("KeyError: 'NOT-THERE'\n")
    assert "old ways" in events[5]["message"]
    assert len(events) == 7
    all_json(at_work)


def test_a_record_is_written_only_by_the_tasks_own_handler(grid: Cluster) -> None:
    """The handler that basicConfig has set up writes the record, once."""
    grid.master()
    at_work = worker(grid)
    with grid.client() as client:
        client.submit(talking.logs_by_a_custom_handler).result(15)
        client.submit(talking.logs).result(15)
    at_work.logs("task_logged", message="heard all the same")
    assert about(at_work.events("task_printed"), "text") == [("OWN once",)]
    assert not at_work.events("task_logged", message="once")


def test_each_of_several_tasks_at_a_time_has_its_own_lines(grid: Cluster) -> None:
    """Context variables separate the output, even when the tasks print at the same time and in several pieces."""
    grid.master()
    at_work = worker(grid, "thread")
    with grid.client() as client:
        futures = {number: client.submit(talking.prints_with_others, number) for number in range(6)}
        ids = {number: future.result(15) for number, future in futures.items()}
    for number, task in ids.items():
        at_work.logs("task_printed", text=f"I am {number}", times=20)
        assert len(at_work.events("task_printed", task=task, text=f"I am {number}")) == 20
    assert len(at_work.events("task_printed")) == 120


def test_errors_that_the_interpreter_prints_are_json_too(grid: Cluster) -> None:
    """Tracebacks of threads and finalizers are logged line by line."""
    grid.master()
    at_work = worker(grid)
    with grid.client() as client:
        client.submit(talking.ends_with_errors_in_threads).result(15)
    at_work.logs("task_printed", text="ValueError: in a finalizer")
    at_work.logs("task_printed", text="IndexError: pop from empty list")
    all_json(at_work)


def test_a_flood_of_prints_waits_in_its_task(grid: Cluster) -> None:
    """All lines arrive in order, and the supervisor neither grows nor stops its log."""
    lines = 10_000
    grid.master(DISTQ_LEASE_S="5s", DISTQ_HEARTBEAT_S="0.5s")
    at_work = worker(grid, DISTQ_LEASE_S="5s", DISTQ_HEARTBEAT_S="0.5s")
    with grid.client() as client:
        assert client.submit(talking.floods, lines).result(100) == lines
    at_work.logs("task_printed", text=f"line {lines - 1} of a flood")
    texts = about(at_work.events("task_printed"), "text")
    assert texts == [(f"line {number} of a flood",) for number in range(lines)]
    status = Path(f"/proc/{at_work.popen.pid}/status").read_text()
    assert int(status.split("VmHWM:")[1].split()[0]) < 120_000


def test_the_capture_of_output_can_be_switched_off(grid: Cluster) -> None:
    """Without capture the log contains a task's output unchanged, even before a crash."""
    grid.master()
    at_work = worker(grid, DISTQ_CAPTURE_OUTPUT="0")
    with grid.client() as client:
        assert client.submit(talking.prints_and_dies, "kill").exception(15)
    eventually(lambda: "executor_died" in at_work.text, "its end")
    assert "the last line\nand half of one" in at_work.text
    assert not at_work.events("task_printed")
