"""The tasks of run_beside.py."""

import asyncio
import time

import distq


@distq.task(executor="thread")
def waits(seconds: float) -> float:
    """Wait in a thread, like a call to another service."""
    time.sleep(seconds)
    return seconds


@distq.task(executor="thread", time_limit=5)
async def waits_on_the_loop(seconds: float) -> str:
    """Wait as a coroutine, on the executor's event loop."""
    run = distq.current()
    run.progress(0.5, "waits")
    await asyncio.sleep(seconds)
    return run.id


@distq.task(executor="thread", time_limit=0.5, retries=0)
async def exceeds_its_limit() -> None:
    """Exceed the time limit."""
    await asyncio.sleep(60)
