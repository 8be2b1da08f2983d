"""The tasks of the tests of the outbox."""

import os
from pathlib import Path

import distq


def trace(number: int) -> int:
    """Append a number and the id of the task to the file of the test, in one write."""
    line = f"{number} {distq.current().id}\n".encode()
    fd = os.open(os.environ["OUTBOX_TRACE"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        os.write(fd, line)
    finally:
        os.close(fd)
    return number


@distq.task(unique_key="one")
def unique() -> None:
    """Do nothing, as a task with a unique key."""


@distq.task(queue="mail", priority=7, requires=("gpu",), cost=2, concurrency_key="k", headers={"tenant": "a"})
def rich(number: int) -> int:
    """Return a number, as a task with options."""
    return number


def ran(trace_file: Path) -> dict[int, set[str]]:
    """Return the ids of the tasks that have written each number."""
    found: dict[int, set[str]] = {}
    lines = trace_file.read_text().splitlines() if trace_file.exists() else []
    for line in lines:
        number, task_id = line.split()
        found.setdefault(int(number), set()).add(task_id)
    return found
