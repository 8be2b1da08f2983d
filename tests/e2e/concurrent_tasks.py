"""The tasks of test_executors.py, several of which run in one executor at the same time."""

import asyncio
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

from tests.e2e import handlers

import distq

POLL_S = 0.01


def waits(folder: str, name: str) -> tuple[str, int]:
    """Note that the task runs, wait until the folder contains `go`, and return the task's id and attempt."""
    (Path(folder) / f"{name}-{os.getpid()}").touch()
    handlers.wait_for_go(folder)
    run = distq.current()
    return run.id, run.attempt


async def awaits(folder: str, name: str) -> tuple[str, int]:
    """Do the same as a coroutine."""
    run = distq.current()
    run.progress(0.5, name)
    (Path(folder) / f"{name}-{os.getpid()}").touch()
    while not (Path(folder) / "go").exists():  # noqa: ASYNC110 - the file is made by another process
        await asyncio.sleep(POLL_S)  # as in `waits`
    assert distq.current() == run
    return run.id, run.attempt


@distq.task(retries=0, time_limit=0.3)
def too_long() -> None:
    """Exceed the time limit in Python code."""
    while True:
        time.sleep(POLL_S)  # the exception is raised between two of these calls


@distq.task(retries=0, time_limit=0.3)
async def awaits_too_long() -> None:
    """Exceed the time limit in a coroutine."""
    await asyncio.sleep(60)  # the executor cancels it first


@distq.task(retries=0, time_limit=0.3)
def ignores_every_stop() -> None:
    """Exceed the time limit in one call, which no exception can interrupt."""
    time.sleep(60)  # the supervisor kills the executor first


async def cleans_up(folder: str) -> None:
    """Wait until the task is stopped, and then create a file."""
    (Path(folder) / f"waits-{os.getpid()}").touch()
    try:
        await asyncio.sleep(60)  # the executor cancels it first
    finally:
        (Path(folder) / "cleaned").touch()


@distq.task(max_deliveries=2)
def poison() -> None:
    """Kill the executor and all tasks that run in it."""
    os.kill(os.getpid(), signal.SIGKILL)


def counts(last: int) -> Iterator[int]:
    """Stream numbers."""
    yield from range(last)


@distq.task(executor="thread")
async def only_in_threads() -> int:
    """Run in an executor with threads."""
    return os.getpid()


@distq.task(retries=0)
async def fails() -> None:
    """Fail."""
    raise ValueError("no")
