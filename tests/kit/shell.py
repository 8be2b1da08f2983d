"""Helpers that run the kit's tools: each call is one command, and a failure shows the command's output."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from tests.tidy.tree import ROOT

from distq._version import __version__

CHART = ROOT / "helm"
TASKS = ROOT / "tests" / "kit" / "tasks.py"
BIN = Path(sys.executable).parent
VERSION = __version__
MASTER_IMAGE = f"distq-master:{VERSION}"
WORKER_IMAGE = f"distq-worker:{VERSION}"
BASE_IMAGE = "python:3.15-slim-trixie"
"""The default base of the images."""
BASE_PYTHON = BASE_IMAGE.removeprefix("python:").partition("-")[0]
"""Its version of Python, `3.15`."""
PRINT_METRICS = """
import os, ssl, urllib.request
tls = os.environ.get("DISTQ_TLS_CERT") and os.environ.get("DISTQ_HTTP_TLS") != "0"
context = ssl.create_default_context(cafile=os.environ["DISTQ_TLS_CA"]) if tls else None
url = f"http{'s' if tls else ''}://127.0.0.1:9001/metrics"
print(urllib.request.urlopen(url, context=context).read().decode())
"""
"""A program that prints the metrics of the container that it runs in."""

T = TypeVar("T")


class CommandFailed(AssertionError):
    """A command exited with a code other than 0."""


def run(*command: str | Path, given: str | None = None, timeout_s: float = 300, **env: str) -> str:
    """Run a command in the project's folder, with these additional environment variables; return its output.

    Raises:
        CommandFailed: if the command fails, with its whole output.
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
        output = f"{done.stdout}\n{done.stderr}"
        raise CommandFailed(f"{' '.join(map(str, command))} exited with {done.returncode}:\n{output}")
    return done.stdout


def fails(*command: str | Path) -> str:
    """Return the output of a command that must fail."""
    try:
        output = run(*command)
    except CommandFailed as failed:
        return str(failed)
    raise AssertionError(f"{' '.join(map(str, command))} succeeded:\n{output}")


def wait_for_value(look: Callable[[], T], wanted: Callable[[T], bool], within_s: float, every_s: float = 0.5) -> T:
    """Return the first value of `look` that `wanted` accepts; fail after `within_s`, with the last value.

    For facts of other machines, which send no notification; a command that fails counts as not yet.
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
    """Return the duration of a call in seconds."""
    started_at = time.monotonic()  # noqa: TID251 - measures real time
    act()
    return time.monotonic() - started_at  # noqa: TID251 - as above


def sum_of_series(metrics: str, beginning: str) -> float:
    """Return the sum of the series in a page of metrics whose text begins with the given prefix."""
    return sum(float(line.split()[-1]) for line in metrics.splitlines() if line.startswith(beginning))


def compose(*arguments: str) -> str:
    """Return the output of `docker compose`."""
    return run("docker", "compose", *arguments)
