"""The tasks of run_when.py."""

import time
from pathlib import Path

import distq


@distq.task
def moment(submitted_at: float) -> float:
    """How many seconds after its submit it runs, by the clock that all processes of a machine share."""
    return time.monotonic() - submitted_at


@distq.task(expires=0.5)
def news(text: str) -> str:
    """Of no use to anybody half a second later."""
    return text


@distq.task
def note(path: str, word: str) -> None:
    """Add a line to a file."""
    with Path(path).open("a") as file:
        file.write(word + "\n")


@distq.task
def busy(seconds: float) -> None:
    """Keep an executor to itself."""
    time.sleep(seconds)
