"""What the demos' workers run: a task that is the handler of plain items too, and the tasks of a realistic load."""

import os
import random
import signal
import time

import distq

RUN_S = 0.1
"""Long enough for there to be something to watch."""
FAILURES = 0.03
"""How often a fetch fails, and is tried again."""


@distq.task
def square(number: int) -> tuple[int, int]:
    """A number and its square."""
    time.sleep(RUN_S)
    return number, number * number


@distq.task
def fetch(seconds: float) -> float:
    """Wait for an answer, which sometimes does not come."""
    time.sleep(seconds)
    if random.random() < FAILURES:  # noqa: S311 - a failure, no secret
        raise ConnectionError("the other side has closed the connection")
    return seconds


@distq.task
def send(seconds: float, what: bytes = b"") -> int:
    """Pass something on."""
    time.sleep(seconds)
    return len(what)


@distq.task(time_limit=30)
def render(seconds: float) -> float:
    """Work for a while, and say how far it is."""
    for tenth in range(10):
        time.sleep(seconds / 10)
        distq.current().progress((tenth + 1) / 10)
    return seconds


@distq.task
def summed(seconds: list[float]) -> float:
    """What a group comes to."""
    return sum(seconds)


@distq.task(retries=0, time_limit=1)
def hangs() -> None:
    """Never come to an end."""
    while True:
        time.sleep(RUN_S)


@distq.task(retries=0)
def fails() -> None:
    """Fail for good."""
    raise ValueError("there is no such page")


@distq.task
def crashes() -> None:
    """Take its executor with it."""
    os.kill(os.getpid(), signal.SIGKILL)
