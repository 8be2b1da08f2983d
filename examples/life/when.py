"""The tasks of run_when.py."""

import time
from pathlib import Path

import distq


@distq.task
def waited(submitted_at: float) -> float:
    """Return how many seconds after its submit the task runs; all processes of a machine share this clock."""
    return time.monotonic() - submitted_at


@distq.task(expires=0.5)
def news(text: str) -> str:
    """Return a text that is out of date after half a second."""
    return text


@distq.task
def note(path: str, line: str) -> None:
    """Add a line to a file."""
    with Path(path).open("a") as file:
        file.write(line + "\n")


@distq.task
def busy(seconds: float) -> None:
    """Occupy an executor for some seconds."""
    time.sleep(seconds)
