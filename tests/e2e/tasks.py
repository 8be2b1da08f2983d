"""The structured tasks of these tests."""

import asyncio
import ctypes
import gc
import os
import signal
import time
import weakref
from pathlib import Path

from tests.e2e import handlers

import distq


@distq.task(name="square")
def square(n: int) -> int:
    """Return the square of a number."""
    return n * n


def total(numbers: list[int]) -> int:
    """Return the sum of a group's results."""
    return sum(numbers)


async def later(n: int) -> int:
    """Return the number after a short wait."""
    await asyncio.sleep(0)
    return n


@distq.task(retries=0)
def divide(over: int, under: int) -> float:
    """Return a quotient."""
    return over / under


@distq.task(retries=5, no_retry_for=KeyError)
def misses() -> None:
    """Raise an exception that causes no retry."""
    raise KeyError("gone")


def hold(folder: str, result: str) -> str:
    """Run until the folder contains a file `go`."""
    return handlers.hold((folder, result))


@distq.task(max_deliveries=3)
def poison() -> None:
    """Kill the executor."""
    os.kill(os.getpid(), signal.SIGKILL)


def pid(_: int) -> int:
    """Return the process id of the executor."""
    return os.getpid()


@distq.task(retries=0, time_limit=0.3)
def sleeps() -> None:
    """Sleep for longer than the time limit."""
    time.sleep(60)  # the time limit ends it first


@distq.task(retries=0, time_limit=0.3)
def stubborn() -> None:
    """Swallow every exception."""
    while True:
        try:
            time.sleep(60)  # the time limit interrupts it first
        except Exception:  # noqa: BLE001 - that is the point
            continue


def hold_gil(folder: str, run_s: float) -> str:
    """Hold the GIL in C code for the given time."""
    handlers.note(folder)
    ctypes.PyDLL(None).usleep(int(run_s * 1e6))
    return "done"


@distq.task(retries=0, time_limit=0.3)
def count_in_c(folder: str) -> str:
    """Hold the GIL in C code beyond the time limit, where no signal handler runs."""
    handlers.note(folder)
    return str(sum(range(10**12)))


def doze(run_s: float) -> float:
    """Sleep."""
    time.sleep(run_s)  # the task's work
    return run_s


def linger(folder: str) -> None:
    """Run as a forked child until the folder contains a file `go`, or for a minute."""
    until = time.perf_counter() + 60
    while time.perf_counter() < until and not (Path(folder) / "go").exists():
        # The test creates the file after it has inspected this process.
        time.sleep(0.01)
    os._exit(0)


def fork(folder: str) -> int:
    """Fork a child that outlives the task, and return its id."""
    child = os.fork()
    if not child:
        linger(folder)
    return child


def fork_and_end(count: int) -> list[int]:
    """Fork children that wait, end each one immediately, and return their exit codes."""
    codes = []
    for _ in range(count):
        child = os.fork()
        if not child:
            time.sleep(5)  # the child waits for its end
            os._exit(0)
        os.kill(child, signal.SIGTERM)
        codes.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    return codes


def fork_and_return() -> str:
    """Fork a child that returns from the task as if it were the executor."""
    return "child" if not os.fork() else "parent"


def fork_and_die(folder: str) -> str:
    """Fork a child that outlives the executor, and kill the executor; the second run returns."""
    first = Path(folder) / "first"
    if first.exists():
        return "second"
    first.touch()
    if not os.fork():
        os.setsid()
        linger(folder)
    os.kill(os.getpid(), signal.SIGKILL)
    return "never"


@distq.task
def raises(text: str) -> None:
    """Fail in every attempt."""
    raise ValueError(text)


@distq.task(retries=0)
def raises_interrupted(stopped: bool) -> None:
    """Raise an exception that only distq may raise."""
    raise (distq.TaskStopped if stopped else distq.Interrupted)("of itself")


@distq.task(retries=0)
async def raises_interrupted_on_a_loop(stopped: bool) -> None:
    """Raise the same exception in a coroutine."""
    raise (distq.TaskStopped if stopped else distq.Interrupted)("of itself")


def blob(n: int) -> bytes:
    """Return a result of one mebibyte."""
    return b"%d " % n + bytes(1 << 20)


class Referable:
    """An object to which a weak reference can be made."""


references: list[weakref.ref[Referable]] = []
"""References to what earlier tasks of this executor got and returned."""


def keep_weakly(given: Referable, *, fails: bool = False) -> Referable:
    """Note references to the argument, to the returned object and to a local one; switch the garbage collector off."""
    gc.disable()
    returned, local = Referable(), Referable()
    references.extend(map(weakref.ref, (given, returned, local)))
    if fails:
        raise LookupError("of the task")
    return returned


def kept_alive() -> int:
    """Return how many of these objects are still there."""
    assert references
    return sum(one() is not None for one in references)
