"""The tasks of run_beside.py."""

import asyncio
import time

import distq


@distq.task(executor="thread")
def waits(seconds: float) -> float:
    """Wait, as for an answer from elsewhere: in a thread."""
    time.sleep(seconds)
    return seconds


@distq.task(executor="thread", time_limit=5)
async def asks(seconds: float) -> str:
    """The same as a coroutine: on the executor's loop."""
    run = distq.current()
    run.progress(0.5, "asked")
    await asyncio.sleep(seconds)
    return run.id


@distq.task(executor="thread", time_limit=0.5, retries=0)
async def asks_for_too_long() -> None:
    """Run beyond its limit."""
    await asyncio.sleep(60)
