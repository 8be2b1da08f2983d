"""Tasks for the tests; workers mount this file as /app/tasks/test.py."""

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import distq


@distq.task(name="nap")
def nap(seconds: float) -> str:
    """Sleep, and then return that the task ended."""
    time.sleep(seconds)  # the task's work
    return "rested"


@distq.task(name="spin")
def spin(seconds: float) -> int:
    """Use a processor for the given time."""
    until = time.process_time() + seconds
    while time.process_time() < until:
        pass
    return 1


@distq.task(name="fill", max_deliveries=1)
def fill(size_bytes: int) -> int:
    """Use the given amount of memory."""
    return len(b"x" * size_bytes)


@distq.task(name="count", retries=0, time_limit=0.5)
def count(to: int) -> int:
    """Count in C code, where no signal handler runs."""
    return sum(range(to))


@distq.task(name="end", max_deliveries=1)
def end(number: int) -> int:
    """End the executor with an exit code, or by a signal, whose number is negative."""
    if number < 0:
        os.kill(os.getpid(), -number)
    os._exit(number)


def orphan(_: object) -> int:
    """Leave a grandchild without a parent, which ends immediately; return the number of zombies after up to 5 s."""
    subprocess.run([sys.executable, "-c", "import os; os.fork() or os._exit(0)"], check=True)
    for _ in range(50):
        if not zombies():
            return 0
        time.sleep(0.1)  # the supervisor needs some time to reap
    return len(zombies())


def zombies() -> list[Path]:
    """Return the processes of this container that ended and whose parent has not waited for them."""
    return [path for path in Path("/proc").glob("[0-9]*/stat") if state_of(path) == "Z"]


def state_of(path: Path) -> str:
    """Return a process's state as one letter, or an empty text if the process has ended."""
    try:
        return path.read_text().rpartition(")")[2].split()[0]
    except OSError:
        return ""


@distq.task(name="linger")
def linger() -> None:
    """Start a thread without an end, as some libraries do: the executor cannot end by itself."""
    threading.Thread(target=threading.Event().wait).start()


@distq.task(name="ignores_every_stop")
def ignores_every_stop() -> None:
    """Run forever, and ignore every request to stop."""
    while True:
        try:
            time.sleep(60)  # the supervisor kills it
        except distq.TaskStopped:
            pass
