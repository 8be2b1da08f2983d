"""The tasks of run_flowing.py."""

import time
from collections.abc import Generator
from pathlib import Path

import distq


@distq.task
def countdown(number: int) -> Generator[int, None, str]:
    """Yield the numbers down to 1."""
    while number:
        yield number
        number -= 1
        time.sleep(0.1)
    return "lift-off"


@distq.task
def stumbles(path: str) -> Generator[int, None, None]:
    """Fail after the second part in the first attempt."""
    for number in range(4):
        if number == 2 and not Path(path).exists():
            Path(path).touch()
            raise distq.Retry(after=0.2)
        yield number


@distq.task(retries=0, max_deliveries=1)
def count_to(last: int, path: str) -> tuple[int, int, int]:
    """Count for longer than a grace period; return the attempt, the delivery, and the number where this run began."""
    run = distq.current()
    first = run.cursor or 0
    for number in range(first, last):
        with Path(path).open("a") as file:
            file.write(f"{number}\n")
        time.sleep(0.05)
        run.checkpoint(number + 1)
    return run.attempt, run.delivery, first
