"""The tasks of the soak test; they leave no files or processes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Generator

import distq


def work(number: int, run_s: float) -> int:
    """Work for a while."""
    time.sleep(run_s)  # the task's work
    return number


def large(size_bytes: int) -> bytes:
    """Return a result of the given size in bytes."""
    return bytes(size_bytes)


@distq.task(executor="thread")
async def beside(number: int, run_s: float) -> int:
    """Work for a while as a coroutine, beside other tasks."""
    await asyncio.sleep(run_s)  # the task's work
    return number


@distq.task(retries=0)
def fails(number: int) -> int:
    """Fail without a retry."""
    raise ValueError(str(number))


@distq.task
def again(number: int) -> int:
    """Fail once, and succeed in the retry."""
    if distq.current().attempt == 1:
        raise distq.Retry(after=0.05)
    return number


def parts(count: int) -> Generator[int, None, int]:
    """Stream parts."""
    yield from range(count)
    return count


def summed(numbers: list[int]) -> int:
    """Return the sum of a group."""
    return sum(numbers)


def ticks() -> None:
    """Run as a scheduled run."""
