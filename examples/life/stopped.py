"""The tasks of run_stopped.py."""

import time
from pathlib import Path

import distq


@distq.task
def busy(begun: str, path: str) -> None:
    """Hold an executor until the file is there."""
    Path(begun).touch()
    while not Path(path).exists():
        time.sleep(0.05)


@distq.task
def write(path: str) -> None:
    """Leave a trace of having run."""
    Path(path).touch()


@distq.task
def careful(begun: str, cleaned: str) -> None:
    """Run for ever, and clean up when told to stop."""
    try:
        Path(begun).touch()
        while True:
            time.sleep(0.05)
    except distq.TaskStopped:
        Path(cleaned).touch()
        raise


@distq.task
def stubborn(begun: str) -> None:
    """Run for ever, and take no notice of anything."""
    while True:
        try:
            Path(begun).touch()
            time.sleep(0.05)
        except distq.TaskStopped:
            pass
