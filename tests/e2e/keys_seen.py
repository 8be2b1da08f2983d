"""Tasks that look for keys wherever code of a task can see."""

import gc
import os
import subprocess
import sys
import traceback
from collections.abc import Mapping

import distq


@distq.task
def environment() -> str:
    """Return the environment of the executor."""
    return f"GOES-THROUGH {dict(os.environ)}"


@distq.task
def program() -> str:
    """Return what a program that the task starts finds in its environment and command line."""
    source = "import os, sys; print(dict(os.environ), sys.argv, open(f'/proc/{os.getppid()}/cmdline').read())"
    return subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, check=True).stdout


@distq.task
def reachable_reprs() -> str:
    """Return the reprs of distq's own objects, and of the local variables of all frames."""
    found = []
    frame = sys._getframe()
    while frame is not None:
        found.append(repr_of(frame.f_locals))
        frame = frame.f_back  # type: ignore[assignment] # the outermost frame has none
    found += [repr_of(each) for each in gc.get_objects() if type(each).__module__.startswith("distq")]
    return "\n".join(found)


@distq.task
def waits(path: str) -> None:
    """Run until the test has made a file, in a frame below which there are the keys of the executor."""
    while not os.path.exists(path):  # noqa: PTH110 - many times
        os.sched_yield()


@distq.task(retries=0)
def fails() -> None:
    """Raise an error from distq's own code below a frame with the access to the master."""
    client = distq.Client()
    raise ValueError(f"{client!r} {vars(client)} {distq.current()!r}")


def written(error: BaseException | None) -> str:
    """Return an exception with its causes and the local variables of each frame."""
    if error is None:
        return ""
    lines = traceback.TracebackException.from_exception(error, capture_locals=True).format()
    return "".join(line for line in lines if "ALL =" not in line and "_KEY" not in line)


def repr_of(value: object) -> str:
    """Return the repr of a value, also of one whose repr fails."""
    try:
        return repr(dict(value)) if isinstance(value, Mapping) else repr(value)
    except Exception as error:  # noqa: BLE001 - a repr may raise anything
        return repr(error)
