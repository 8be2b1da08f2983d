"""The structured tasks of these tests."""

import asyncio
import ctypes
import os
import signal
import time
from pathlib import Path

from tests.e2e import handlers

import distq


@distq.task(name="square")
def square(n: int) -> int:
    """A number's square."""
    return n * n


async def later(n: int) -> int:
    """The number, after a moment."""
    await asyncio.sleep(0.01)
    return n


@distq.task(retries=0)
def divide(over: int, under: int) -> float:
    """A quotient."""
    return over / under


@distq.task(retries=5, no_retry_for=KeyError)
def misses() -> None:
    """Raise what is not tried again."""
    raise KeyError("gone")


def hold(folder: str, result: str) -> str:
    """Run until the folder holds a file `go`."""
    return handlers.hold((folder, result))


@distq.task(max_deliveries=3)
def poison() -> None:
    """Kill the executor."""
    os.kill(os.getpid(), signal.SIGKILL)


def pid(_: int) -> int:
    """Who runs it."""
    return os.getpid()


@distq.task(retries=0, time_limit=0.3)
def sleeps() -> None:
    """Sleep for longer than the limit."""
    time.sleep(60)


@distq.task(retries=0, time_limit=0.3)
def stubborn() -> None:
    """Swallow every exception."""
    while True:
        try:
            time.sleep(60)
        except Exception:  # noqa: BLE001 - that is the point
            continue


def hold_gil(folder: str, run_s: float) -> str:
    """Be in C code that holds the GIL, for so long."""
    handlers.note(folder)
    ctypes.PyDLL(None).usleep(int(run_s * 1e6))
    return "done"


@distq.task(retries=0, time_limit=0.3)
def count_in_c(folder: str) -> str:
    """The same, beyond the time limit, and deaf to signals."""
    handlers.note(folder)
    return str(sum(range(10**12)))


def doze(run_s: float) -> float:
    """Sleep."""
    time.sleep(run_s)
    return run_s


def fork(folder: str) -> int:
    """Fork a child that lives on when the task has ended; returns its id."""
    child = os.fork()
    if not child:
        eventually_gone = time.perf_counter() + 60
        while time.perf_counter() < eventually_gone and not (Path(folder) / "go").exists():
            time.sleep(0.01)
        os._exit(0)
    return child


def fork_and_die(folder: str) -> str:
    """Fork a child that lives on, and kill the executor; the second run returns."""
    first = Path(folder) / "first"
    if first.exists():
        return "second"
    first.touch()
    if not os.fork():
        os.setsid()
        while not (Path(folder) / "go").exists():
            time.sleep(0.01)
        os._exit(0)
    os.kill(os.getpid(), signal.SIGKILL)
    return "never"


def swell(mebibytes: int) -> int:
    """Take so much memory, and keep it for a while."""
    taken = bytearray(os.urandom(1) * (mebibytes << 20))
    time.sleep(60)
    return len(taken)
