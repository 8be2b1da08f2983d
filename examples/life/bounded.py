"""The tasks of run_bounded.py."""

import time

import distq


@distq.task(queue="small", result_ttl=60)
def slow(number: int) -> int:
    """Take a moment."""
    time.sleep(0.2)
    return number
