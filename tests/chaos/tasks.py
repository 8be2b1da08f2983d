"""The task of the chaos test: it leaves a trace outside of distq whenever it runs."""

import os
import time

FOLDER = "CHAOS_FOLDER"
"""The environment variable that names where traces are left."""


def leave_a_trace(number: int, run_s: float) -> int:
    """Write down that it begins, take its time, and write down that it came to its end."""
    trace = os.open(f"{os.environ[FOLDER]}/runs-{os.getpid()}", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(trace, b"begin %d %.6f\n" % (number, time.time()))  # noqa: TID251 - compared with the faults' moments
        time.sleep(run_s)  # a task takes time
        os.write(trace, b"end %d %.6f\n" % (number, time.time()))  # noqa: TID251 - as above
    finally:
        os.close(trace)
    return number
