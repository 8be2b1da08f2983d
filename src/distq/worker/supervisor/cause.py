"""The cause of a process's end as a text: "killed by SIGKILL", "exit code 3", "out of memory (cgroup)"."""

import os
import signal
from typing import Final, NamedTuple

EXIT: Final = "exit"
SIGNAL: Final = "signal"
OUT_OF_MEMORY: Final = "oom"
TIMEOUT: Final = "timeout"
RECYCLE: Final = "recycle"
STOPPED: Final = "stopped"
HUNG: Final = "hung"


class Cause(NamedTuple):
    """The kind of an end (a label of metrics), and its text (a phrase for people)."""

    kind: str
    text: str


def cause_of_status(status: int, *, out_of_memory: bool = False) -> Cause:
    """Read a wait status; `out_of_memory` says that the kernel killed something for memory meanwhile."""
    if not os.WIFSIGNALED(status):
        return Cause(EXIT, f"exit code {os.WEXITSTATUS(status)}")
    number = os.WTERMSIG(status)
    if number == signal.SIGKILL and out_of_memory:
        return Cause(OUT_OF_MEMORY, "out of memory (cgroup)")
    return Cause(SIGNAL, f"killed by {_name_of(number)}")


def _name_of(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # a real-time signal
        return f"signal {number}"
