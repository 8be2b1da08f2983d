"""The tasks of test_executors.py: several of them are in one executor at once."""

import asyncio
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import distq

LOOK_S = 0.01


def waits(folder: str, name: str) -> tuple[str, int]:
    """Say that it is here, and wait until the folder holds `go`; returns its id and its attempt."""
    (Path(folder) / f"{name}-{os.getpid()}").touch()
    while not (Path(folder) / "go").exists():
        time.sleep(LOOK_S)  # the test makes the file when all are there
    run = distq.current()
    return run.id, run.attempt


async def awaits(folder: str, name: str) -> tuple[str, int]:
    """The same as a coroutine."""
    run = distq.current()
    run.progress(0.5, name)
    (Path(folder) / f"{name}-{os.getpid()}").touch()
    while not (Path(folder) / "go").exists():  # noqa: ASYNC110 - the file is made by another process
        await asyncio.sleep(LOOK_S)  # as in `waits`
    assert distq.current() == run
    return run.id, run.attempt


@distq.task(retries=0, time_limit=0.3)
def too_long() -> None:
    """Run beyond its limit, in Python."""
    while True:
        time.sleep(LOOK_S)  # an exception comes between two of these


@distq.task(retries=0, time_limit=0.3)
async def awaits_too_long() -> None:
    """Wait beyond its limit."""
    await asyncio.sleep(60)  # it is cancelled first


@distq.task(retries=0, time_limit=0.3)
def deaf() -> None:
    """Run beyond its limit where no exception comes through."""
    time.sleep(60)  # its executor is killed first


async def cleans_up(folder: str) -> None:
    """Wait until it is stopped, and leave a file then."""
    (Path(folder) / f"waits-{os.getpid()}").touch()
    try:
        await asyncio.sleep(60)  # it is cancelled first
    finally:
        (Path(folder) / "cleaned").touch()


@distq.task(max_deliveries=2)
def poison() -> None:
    """Kill the executor and all that runs in it."""
    os.kill(os.getpid(), signal.SIGKILL)


def counts(last: int) -> Iterator[int]:
    """Stream numbers."""
    yield from range(last)


@distq.task(executor="thread")
async def only_in_threads() -> int:
    """Run where others do at the same time."""
    return os.getpid()


@distq.task(retries=0)
async def fails() -> None:
    """Raise."""
    raise ValueError("no")
