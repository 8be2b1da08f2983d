"""Tasks for the tests: mounted into workers as /app/tasks/test.py."""

import subprocess
import sys
import time
from pathlib import Path

import distq


@distq.task
def nap(seconds: float) -> str:
    """Takes its time, and says that it came to its end."""
    time.sleep(seconds)  # the task is to take time
    return "rested"


def orphan(_: object) -> int:
    """Leaves a grandchild without a parent, which ends at once, and says how many zombies there are a moment later."""
    subprocess.run([sys.executable, "-c", "import os; os.fork() or os._exit(0)"], check=True)
    for _ in range(50):
        if not zombies():
            return 0
        time.sleep(0.1)  # the supervisor needs a moment to reap
    return len(zombies())


def zombies() -> list[Path]:
    """Processes of this container that ended and that nobody has waited for."""
    return [path for path in Path("/proc").glob("[0-9]*/stat") if state_of(path) == "Z"]


def state_of(path: Path) -> str:
    """A process's state, one letter; empty once it is gone."""
    try:
        return path.read_text().rpartition(")")[2].split()[0]
    except OSError:
        return ""
