"""The tasks of the soak: they leave nothing behind."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Generator

import distq


def work(number: int, run_s: float) -> int:
    """Take a while."""
    time.sleep(run_s)  # a task takes time
    return number


def large(size_bytes: int) -> bytes:
    """Return that many bytes."""
    return bytes(size_bytes)


@distq.task(executor="thread")
async def beside(number: int, run_s: float) -> int:
    """Take a while beside others."""
    await asyncio.sleep(run_s)  # a task takes time
    return number


@distq.task(retries=0)
def fails(number: int) -> int:
    """Fail for good."""
    raise ValueError(str(number))


def again(number: int) -> int:
    """Be tried again once."""
    if distq.current().attempt == 1:
        raise distq.Retry(after=0.05)
    return number


def parts(count: int) -> Generator[int, None, int]:
    """Stream."""
    yield from range(count)
    return count


def summed(numbers: list[int]) -> int:
    """What a group comes to."""
    return sum(numbers)


def ticks() -> None:
    """What the schedule runs."""
