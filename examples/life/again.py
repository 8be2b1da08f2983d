"""The tasks of run_again.py."""

import time
from pathlib import Path

import distq


@distq.task(every=0.5)
def tick(path: str) -> None:
    """Add a line to a file."""
    with Path(path).open("a") as file:
        file.write("tick\n")


@distq.task(every=0.3)
def slow(folder: str) -> None:
    """Run longer than the interval; the master never lets two of these run at the same time."""
    (Path(folder) / "running").mkdir()
    time.sleep(0.7)
    (Path(folder) / "running").rmdir()
    (Path(folder) / f"done {time.monotonic_ns()}").touch()


@distq.task
def report(_name: str) -> None:
    """Do nothing: its first scheduled run is tomorrow."""
