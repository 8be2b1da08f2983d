"""Tasks for the tests: mounted into workers as /app/tasks/test.py."""

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import distq


@distq.task(name="nap")
def nap(seconds: float) -> str:
    """Takes its time, and says that it came to its end."""
    time.sleep(seconds)  # the task is to take time
    return "rested"


@distq.task(name="spin")
def spin(seconds: float) -> int:
    """Uses a processor for so long."""
    until = time.process_time() + seconds
    while time.process_time() < until:
        pass
    return 1


@distq.task(name="fill", max_deliveries=1)
def fill(size_bytes: int) -> int:
    """Uses so much memory."""
    return len(b"x" * size_bytes)


@distq.task(name="count", retries=0, time_limit=0.5)
def count(to: int) -> int:
    """Counts in C code, deaf to signals and to whatever else is said meanwhile."""
    return sum(range(to))


@distq.task(name="end", max_deliveries=1)
def end(number: int) -> int:
    """Ends its executor: with an exit code, or by a signal, whose number is negative."""
    if number < 0:
        os.kill(os.getpid(), -number)
    os._exit(number)


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


@distq.task(name="linger")
def linger() -> None:
    """Leaves a thread that does not end, as some libraries do: its executor cannot end by itself."""
    threading.Thread(target=threading.Event().wait).start()


@distq.task(name="deaf")
def deaf() -> None:
    """Run for ever, and take no notice of being told to stop."""
    while True:
        try:
            time.sleep(60)  # it is killed
        except distq.TaskStopped:
            pass
