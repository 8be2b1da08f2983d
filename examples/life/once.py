"""The tasks of run_once.py."""

import time

import distq


@distq.task(unique_key=lambda day: f"report of {day}")
def report(day: str) -> str:
    """Make the report of a day; at most one live task for each day."""
    time.sleep(0.5)
    return f"report of {day}"


@distq.task(unique_key="index", debounce=0.5)
def index(version: int) -> int:
    """Run when there was no further submit for half a second."""
    return version


@distq.task(unique_key=lambda user: user, unique_for=2)
def remind(user: str) -> str:
    """Remind a user at most every two seconds."""
    return f"reminded {user}"
