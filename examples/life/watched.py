"""The tasks of run_watched.py."""

import time
from pathlib import Path

import distq


@distq.task
def pages(folder: str) -> str:
    """Report progress, and continue when the program has seen it."""
    run = distq.current()
    for page in (1, 2):
        run.progress(page / 2, f"page {page}")
        while not (Path(folder) / f"seen {page}").exists():
            time.sleep(0.02)
    return "read"


@distq.task
def holds_the_interpreter(path: str) -> int:
    """Hold the interpreter lock for some seconds, so that no other thread of the process runs."""
    Path(path).touch()
    return sum(range(200_000_000))


@distq.task(concurrency_key="one")
def one_by_one() -> None:
    """Run at most one of these tasks at a time."""


@distq.task(queue="later", retries=1)
def fails() -> None:
    """Fail."""
    raise ValueError("no such page")
