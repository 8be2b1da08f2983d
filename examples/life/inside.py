"""The tasks of run_inside.py."""

from pathlib import Path

import distq


@distq.task(time_limit=60)
def run_facts() -> str:
    """Return what the task knows about its own run."""
    run = distq.current()
    return f"{run.name} of queue {run.queue}, attempt {run.attempt}, ends by {run.deadline:.0f} at the latest"


@distq.task
def stubborn(times: int) -> int:
    """Fail until the given number of attempts, with a delay of 0.2 seconds before each retry."""
    run = distq.current()
    if run.attempt < times:
        raise distq.Retry(after=0.2, why="not good enough yet")
    return run.attempt


@distq.task
def when_there(path: str) -> int:
    """Wait for a file without occupying an executor; return the number of the attempt."""
    if not Path(path).exists():
        raise distq.Snooze(0.2, f"{path} is not there yet")
    return distq.current().attempt


@distq.task
def greet(name: str) -> str:
    """Return a greeting, or cancel the task if there is no narun."""
    if not name:
        raise distq.Discard("no name to greet")
    return f"hello {name}"
