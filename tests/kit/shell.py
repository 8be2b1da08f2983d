"""Helpers that run the kit's tools: each call is one command, and a failure shows the command's output."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from distq._version import __version__

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "helm"
TASKS = ROOT / "tests" / "kit" / "tasks.py"
BIN = Path(sys.executable).parent
VERSION = __version__
MASTER_IMAGE = f"distq-master:{VERSION}"
WORKER_IMAGE = f"distq-worker:{VERSION}"
BASE_IMAGE = "python:3.15-slim-trixie"
"""The default base of the images."""

T = TypeVar("T")


class CommandFailed(AssertionError):
    """A command exited with a code other than 0."""


def run(*command: str | Path, given: str | None = None, timeout_s: float = 300, **env: str) -> str:
    """What a command prints, run in the project's folder with these variables added to the environment.

    Raises:
        CommandFailed: with all that it printed.
    """
    done = subprocess.run(
        command,
        cwd=ROOT,
        env={**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}", **env},
        input=given,
        stdin=subprocess.DEVNULL if given is None else None,
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )
    if done.returncode:
        said = f"{done.stdout}\n{done.stderr}"
        raise CommandFailed(f"{' '.join(map(str, command))} exited with {done.returncode}:\n{said}")
    return done.stdout


def fails(*command: str | Path) -> str:
    """Return the output of a command that must fail."""
    try:
        said = run(*command)
    except CommandFailed as failed:
        return str(failed)
    raise AssertionError(f"{' '.join(map(str, command))} succeeded:\n{said}")


def eventually(look: Callable[[], T], wanted: Callable[[T], bool], within_s: float, every_s: float = 0.5) -> T:
    """What a look shows as soon as it is what is wanted; an assertion with the last look, if it never is.

    For facts of other machines, which nobody announces; a command that fails counts as not yet.
    """
    seen: object = None
    deadline = time.monotonic() + within_s  # noqa: TID251 - engines and clusters live in real time
    while time.monotonic() < deadline:  # noqa: TID251 - as above
        try:
            found = look()
        except (OSError, CommandFailed) as error:
            seen = error
        else:
            if wanted(found):
                return found
            seen = found
        time.sleep(every_s)  # the time between two checks of another machine
    raise AssertionError(f"not seen within {within_s:g} s; the last look: {seen}")


def seconds_of(act: Callable[[], object]) -> float:
    """Return the seconds of a call."""
    began = time.monotonic()  # noqa: TID251 - measures real time
    act()
    return time.monotonic() - began  # noqa: TID251 - as above


def compose(*arguments: str) -> str:
    """Return the output of `docker compose`."""
    return run("docker", "compose", *arguments)
