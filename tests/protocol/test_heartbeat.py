"""Heartbeats: the report of a worker and the answer of the master, as they travel."""

from typing import Any

import pytest

from distq.protocol.heartbeat import (
    ExecutorEnd,
    HeartbeatAnswer,
    WorkerReport,
    read_answer,
    read_report,
    write_answer,
    write_report,
)

KILLED = ExecutorEnd(2, "killed by SIGKILL", "signal", (5, 1))
HUNG = ExecutorEnd(3, "it hung", "hung", None, "a stack", 2, [(6, 1), (7, 2)], unexplained=True)
IDLE = WorkerReport(0, 4, None, None, draining=False)
FULL = WorkerReport(3, 4, 100, 200, True, [KILLED, HUNG], [(8, 1)], [(9, 3, "another stack")])


def test_the_report_of_an_idle_worker_is_what_earlier_masters_read() -> None:
    """It has no key for what there is none of, except for the ends of executors."""
    assert write_report(IDLE) == {
        "busy": 0,
        "slots": 4,
        "memory_bytes": None,
        "memory_limit_bytes": None,
        "draining": False,
        "exited": [],
    }


def test_a_full_report_is_what_earlier_masters_read() -> None:
    """An executor's end has only the keys that say something."""
    written = write_report(FULL)
    assert list(written) == [
        "busy", "slots", "memory_bytes", "memory_limit_bytes", "draining", "exited", "returned", "stacks",
    ]  # fmt: skip
    assert written["exited"] == [
        {"index": 2, "cause": "killed by SIGKILL", "kind": "signal", "running": (5, 1)},
        {
            "index": 3,
            "cause": "it hung",
            "kind": "hung",
            "running": None,
            "stack": "a stack",
            "suspects": 2,
            "begun": [(6, 1), (7, 2)],
            "unexplained": True,
        },
    ]
    assert (written["returned"], written["stacks"]) == ([(8, 1)], [(9, 3, "another stack")])


@pytest.mark.parametrize("report", [IDLE, FULL])
def test_the_master_reads_the_report_that_a_worker_writes(report: WorkerReport) -> None:
    """The reader returns an equal report, with lists for sequences."""
    read = read_report(write_report(report))
    assert read == report._replace(
        exited=[end._replace(begun=[*end.begun]) for end in report.exited],
        released=[*report.released],
        stacks=[*report.stacks],
    )


@pytest.mark.parametrize(
    "report",
    [
        None,
        {},
        {"busy": "3", "slots": -1, "exited": 5, "returned": "ab", "stacks": None},
        {"returned": [(1,), (1, "2"), 7], "stacks": [(1, 2), (1, 2, b"bytes")], "exited": [1, None]},
    ],
)
def test_values_that_cannot_be_used_count_as_omitted(report: Any) -> None:
    """A worker of another version, or with a defect, does no harm."""
    assert read_report(report) == WorkerReport(0, 0, None, None, False, [], [], [])


def test_an_answer_names_stacks_only_if_there_are_some() -> None:
    """An earlier worker ignores the key; the answer of an earlier master lacks it."""
    assert write_answer([(1, 2)], []) == {"abort": [(1, 2)]}
    assert write_answer([], [(3, 4)]) == {"abort": [], "stacks": [(3, 4)]}
    assert read_answer({"abort": [(1, 2)]}) == HeartbeatAnswer([(1, 2)], ())
    assert read_answer({"abort": [], "stacks": [(3, 4)]}) == HeartbeatAnswer([], [(3, 4)])
