"""The tasks of test_free_threaded.py."""

import asyncio
import os
import threading
from collections.abc import Iterator
from pathlib import Path


def computes(folder: str) -> None:
    """Note the thread, and compute until the folder contains `go`."""
    (Path(folder) / f"{os.getpid()}-{threading.get_native_id()}").touch()
    number = 1
    while not (Path(folder) / "go").exists():
        for _ in range(200_000):
            number = (number * 48271) % 0x7FFFFFFF


def doubled(number: int) -> int:
    """Return twice the number."""
    return 2 * number


async def doubled_later(number: int) -> int:
    """Do the same as a coroutine."""
    await asyncio.sleep(0)
    return 2 * number


def counts(end: int) -> Iterator[int]:
    """Stream numbers."""
    yield from range(end)


def divides() -> float:
    """Fail."""
    return 1 / 0
