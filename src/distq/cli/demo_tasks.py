"""What the demo's workers run."""

import time

RUN_S = 0.1
"""Long enough for there to be something to watch."""


def square(number: int) -> tuple[int, int]:
    """A number and its square."""
    time.sleep(RUN_S)
    return number, number * number
