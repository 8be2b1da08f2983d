"""The tasks of run_bounded.py."""

import time

import distq


@distq.task(queue="small", result_ttl=60)
def slow(number: int) -> int:
    """Return a number after 0.2 seconds."""
    time.sleep(0.2)
    return number
