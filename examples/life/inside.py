"""The tasks of run_inside.py."""

from pathlib import Path

import distq


@distq.task(time_limit=60)
def who() -> str:
    """What it knows of its own run."""
    me = distq.current()
    return f"{me.name} of queue {me.queue}, attempt {me.attempt}, ends by {me.deadline:.0f} at the latest"


@distq.task
def stubborn(times: int) -> int:
    """Fail until it was tried so often, with a pause of its own choice."""
    me = distq.current()
    if me.attempt < times:
        raise distq.Retry(after=0.2, why="not good enough yet")
    return me.attempt


@distq.task
def when_there(path: str) -> int:
    """Wait for a file without holding an executor; returns which attempt this is."""
    if not Path(path).exists():
        raise distq.Snooze(0.2, f"{path} is not there yet")
    return distq.current().attempt


@distq.task
def greet(name: str) -> str:
    """Greet somebody, if that is still wanted."""
    if not name:
        raise distq.Discard("nobody to greet")
    return f"hello {name}"
