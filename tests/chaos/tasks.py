"""The task of the chaos test, which leaves a trace outside of distq at each run."""

import os
import time

FOLDER = "CHAOS_FOLDER"
"""The environment variable with the folder of the traces."""


def leave_a_trace(number: int, run_s: float) -> int:
    """Write a trace at the beginning, work, and write a trace at the end."""
    trace = os.open(f"{os.environ[FOLDER]}/runs-{os.getpid()}", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(trace, b"begin %d %.6f\n" % (number, time.time()))  # noqa: TID251 - compared with the instants of faults
        time.sleep(run_s)  # the task's work
        os.write(trace, b"end %d %.6f\n" % (number, time.time()))  # noqa: TID251 - as above
    finally:
        os.close(trace)
    return number
