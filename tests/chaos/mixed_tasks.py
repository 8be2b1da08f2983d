"""The tasks of the mixed chaos test, one for each kind of task; each returns "ok" if its run was correct."""

from __future__ import annotations

import asyncio
import functools
import os
import time
from collections.abc import Generator
from pathlib import Path

import distq
from distq.tasks.task_error import TaskError

FOLDER = "CHAOS_FOLDER"
LEFT = "left"
STEPS = 20
STEP_S = 0.01
PARTS = 5


def _trace(event: str, number: int, group: str) -> None:
    path = f"{os.environ[FOLDER]}/runs-{os.getpid()}-{number}"
    line = b"%s %d %.6f %s\n" % (event.encode(), number, time.time(), group.encode())  # noqa: TID251 - as the faults'
    with Path(path).open("ab", buffering=0) as trace:
        trace.write(line)


def traced(number: int, run_s: float, group: str = "") -> str:
    """Trace the begin and the end of the run; they show which tasks of a group ran at the same time."""
    _trace("begin", number, group)
    try:
        time.sleep(run_s)  # the task's work
    finally:  # also after a stopped task
        _trace("end", number, group)
    return "ok"


@distq.task(executor="thread")
async def awaited(number: int, run_s: float) -> str:
    """Do the same as a coroutine, beside other tasks."""
    _trace("begin", number, "")
    await asyncio.sleep(run_s)  # the task's work
    _trace("end", number, "")
    return "ok"


@distq.task
def retried(number: int, run_s: float) -> str:
    """Fail once, and succeed in the retry."""
    traced(number, run_s)
    if distq.current().attempt == 1:
        raise distq.Retry(after=0.1)
    return "ok"


def snoozed(number: int, run_s: float, until: float) -> str:
    """Snooze until the time has come."""
    traced(number, run_s)
    if time.time() < until:  # noqa: TID251 - an instant that the client has given
        raise distq.Snooze(0.1)
    return "ok"


def discarded(number: int, run_s: float) -> str:
    """Discard the task."""
    traced(number, run_s)
    raise distq.Discard("as it was asked to be")


@distq.task(retries=0)
def dies(number: int, run_s: float) -> str:
    """Fail without a retry."""
    traced(number, run_s)
    raise ValueError("as it was asked to")


def streamed(number: int, run_s: float) -> Generator[int, None, str]:
    """Stream parts during the run."""
    for part in range(PARTS):
        traced(number, run_s / PARTS)
        yield number + part
    return "ok"


@distq.task(max_deliveries=500)
def resumed(number: int, run_s: float) -> str:
    """Continue from the checkpoint of the attempt before; the cursor only grows."""
    run = distq.current()
    begun = run.cursor or 0
    for step in range(begun, STEPS):
        traced(number, run_s / STEPS)
        run.progress(step / STEPS, "on the way")
        run.checkpoint(step + 1)
    return "ok"


@functools.cache
def own_client() -> distq.Client:
    """Return the client of all tasks of an executor."""
    return distq.Client()


def leaves(number: int, run_s: float) -> str:
    """Submit another task at the end, and do not wait until the master has accepted it."""
    traced(number, run_s)
    own_client().submit(left, number)
    return "ok"


def left(number: int) -> None:
    """Trace that the task was not lost."""
    _trace(LEFT, number, "")


def squared(number: int, run_s: float, base: int) -> int:
    """Work as a member of a group."""
    traced(number, run_s)
    return base * base


def summed(squares: list[int], number: int, last: int) -> str:
    """Return the sum of a group."""
    traced(number, 0.0)
    assert squares == [base * base for base in range(last)], squares
    return "ok"


def begun(number: int) -> list[int]:
    """Work as the first stage of a chain."""
    traced(number, 0.0)
    return [number]


def carried(numbers: list[int], run_s: float) -> list[int]:
    """Work as a middle stage of a chain."""
    time.sleep(run_s)  # the task's work
    return [*numbers, numbers[-1] + 1]


def arrived(numbers: list[int], number: int) -> str:
    """Work as the last stage of a chain."""
    assert numbers == [number, number + 1, number + 2], numbers
    return "ok"


@distq.task(retries=0)
def falls(base: int) -> int:
    """Work as a member of a group in which every third member fails."""
    if base % 3 == 0:
        raise ValueError("as it was asked to")
    return base


@distq.task(on_failure="run")
def judged(results: list[object], number: int) -> str:
    """Check that failures stand in the place of results."""
    traced(number, 0.0)
    for base, one in enumerate(results):
        assert isinstance(one, ValueError | TaskError) if base % 3 == 0 else one == base, results
    return "ok"
