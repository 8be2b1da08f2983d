"""What the demo's workers run: a task, and the handler of plain items too."""

import time

import distq

RUN_S = 0.1
"""Long enough for there to be something to watch."""


@distq.task
def square(number: int) -> tuple[int, int]:
    """A number and its square."""
    time.sleep(RUN_S)
    return number, number * number
