"""Tasks that print and log in every possible way."""

import ctypes
import logging
import os
import signal
import subprocess
import sys
import threading
import time
import warnings

from tests.e2e import handlers

import distq

log = logging.getLogger("shop.orders")


@distq.task(retries=0, max_deliveries=1)
def prints_and_dies(way: str) -> None:
    """Print on both streams, without an end of line on the second one, and die."""
    print("the last line")
    sys.stderr.write("and half of one")
    if way == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    ctypes.string_at(0)


@distq.task(retries=0)
def prints_past_python(folder: str) -> None:
    """Write to the descriptor, as C code does, and from another program."""
    distq.current().progress(0.5)
    handlers.wait_for_go(folder)  # until the supervisor has seen this task run
    os.write(1, b"from descriptor one\n")
    subprocess.run(["/bin/sh", "-c", "echo from a program; echo and its errors >&2"], check=True)


@distq.task(retries=0)
def logs() -> None:
    """Log at levels of all kinds, and with arguments of all kinds."""
    log.debug("not shown")
    log.info("three of %d", 3, extra={"order": 17, "event": object()})
    log.log(25, "a notice")
    log.log(60, "above critical")
    log.warning("%d items", "many")
    try:
        os.environ.__getitem__("NOT-THERE")
    except KeyError:
        log.exception("it failed")
    warnings.warn("old ways", stacklevel=1)
    quiet = logging.getLogger("library.with.a.null.handler")
    quiet.addHandler(logging.NullHandler())
    quiet.warning("heard all the same")


@distq.task(retries=0)
def logs_by_a_custom_handler() -> None:
    """Set up logging in the way of a program of its own."""
    logging.basicConfig(format="OWN %(message)s")
    log.warning("once")
    logging.root.handlers.clear()


@distq.task(retries=0)
def prints_with_others(number: int) -> str:
    """Print in pieces, while other tasks do the same."""
    for _ in range(20):
        print("I am", number, flush=True)
        time.sleep(0.001)  # other tasks print in this time
    return distq.current().id


@distq.task(retries=0)
def ends_with_errors_in_threads() -> None:
    """Cause errors that the interpreter prints itself, in several lines."""
    thread = threading.Thread(target=[].pop)
    thread.start()
    thread.join()

    class Ends:
        def __del__(self) -> None:
            raise ValueError("in a finalizer")

    Ends()


@distq.task(retries=0)
def floods(lines: int) -> int:
    """Print the given number of lines."""
    for number in range(lines):
        print(f"line {number} of a flood")
    return lines
