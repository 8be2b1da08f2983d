"""The tasks of run_stopped.py."""

import time
from pathlib import Path

import distq


@distq.task
def busy(begun: str, path: str) -> None:
    """Occupy an executor until the file exists."""
    Path(begun).touch()
    while not Path(path).exists():
        time.sleep(0.05)


@distq.task
def write(path: str) -> None:
    """Create a file, to show that the task ran."""
    Path(path).touch()


@distq.task
def careful(begun: str, cleaned: str) -> None:
    """Run without end, and clean up when the worker stops the task."""
    try:
        Path(begun).touch()
        while True:
            time.sleep(0.05)
    except distq.TaskStopped:
        Path(cleaned).touch()
        raise


@distq.task
def stubborn(begun: str) -> None:
    """Run without end, and ignore every request to stop."""
    while True:
        try:
            Path(begun).touch()
            time.sleep(0.05)
        except distq.TaskStopped:
            pass
