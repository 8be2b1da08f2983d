"""The tasks of run_stopped.py."""

import time
from pathlib import Path

import distq


@distq.task
def busy(started: str, path: str) -> None:
    """Occupy an executor until the file exists."""
    Path(started).touch()
    while not Path(path).exists():
        time.sleep(0.05)


@distq.task
def write(path: str) -> None:
    """Create a file, to show that the task ran."""
    Path(path).touch()


@distq.task
def careful(started: str, cleaned: str) -> None:
    """Run without end, and clean up when the worker stops the task."""
    try:
        Path(started).touch()
        while True:
            time.sleep(0.05)
    except distq.TaskStopped:
        Path(cleaned).touch()
        raise


@distq.task
def stubborn(started: str) -> None:
    """Run without end, and ignore every request to stop."""
    while True:
        try:
            Path(started).touch()
            time.sleep(0.05)
        except distq.TaskStopped:
            pass
