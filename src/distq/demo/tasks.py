"""The tasks of the demo: `square`, which handles plain items too, and the tasks of the load."""

import os
import random
import signal
import time

import distq

RUN_S = 0.1
"""Run time of a short task: long enough to be seen in `distq status`."""
FAILURES = 0.03
"""Share of the attempts of `fetch` that fail."""


@distq.task
def square(number: int) -> tuple[int, int]:
    """Return a number and its square."""
    time.sleep(RUN_S)
    return number, number * number


@distq.task
def noop() -> None:
    """Do nothing: `distq bench` measures everything around a task."""


@distq.task
def fetch(seconds: float) -> float:
    """Wait for an answer; three in a hundred attempts fail and are retried."""
    time.sleep(seconds)
    if random.random() < FAILURES:  # noqa: S311 - a failure, no secret
        raise ConnectionError("the other side has closed the connection")
    return seconds


@distq.task
def send(seconds: float, what: bytes = b"") -> int:
    """Return the size of a payload after a pause."""
    time.sleep(seconds)
    return len(what)


@distq.task(time_limit=30)
def render(seconds: float) -> float:
    """Report progress in ten steps."""
    for tenth in range(10):
        time.sleep(seconds / 10)
        distq.current().progress((tenth + 1) / 10)
    return seconds


@distq.task
def summed(seconds: list[float]) -> float:
    """Add up the results of a group."""
    return sum(seconds)


@distq.task(retries=0, time_limit=1)
def hangs() -> None:
    """Run until the time limit ends it."""
    while True:
        time.sleep(RUN_S)


@distq.task(retries=0)
def fails() -> None:
    """Fail without a retry: the task becomes a dead letter."""
    raise ValueError("there is no such page")


@distq.task
def crashes() -> None:
    """Kill the executor that runs the task."""
    os.kill(os.getpid(), signal.SIGKILL)
