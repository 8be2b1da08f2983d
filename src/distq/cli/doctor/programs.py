"""Runs `docker` and `kubectl`, which describe a deployment, and reads the JSON that they print."""

from __future__ import annotations

import json
import shutil
import subprocess
from typing import Any, Final

from distq.cli.text import printable
from distq.core.errors import DistqError

PROGRAM_S: Final = 30.0
"""Maximum seconds for one call: a cluster that answers later does not answer."""
ERROR_CHARS_MAX: Final = 300
CANNOT_CHECK: Final = 2
"""Exit code if a program or file that an option needs is missing or fails."""


class CannotCheck(DistqError):
    """The doctor cannot check the cluster."""

    code = "CANNOT_CHECK"
    exit_code = CANNOT_CHECK


def output_of(*command: str, may_fail: bool = False) -> str:
    """Return what a program prints, with `may_fail` also if it fails.

    Raises:
        CannotCheck: there is no such program, or it fails; the text has the last line of its errors.
    """
    name = command[0]
    if shutil.which(name) is None:
        raise CannotCheck(f"There is no program {name} on PATH, which this option needs.")
    try:
        done = subprocess.run(  # noqa: S603 - names of programs are ours, and what a user gives follows a `=`
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=PROGRAM_S, check=False
        )
    except subprocess.TimeoutExpired:
        raise CannotCheck(f"`{' '.join(command[:3])}` did not end within {PROGRAM_S:.0f} s.") from None
    except OSError as error:
        raise CannotCheck(f"{name} cannot be started: {error.strerror}.") from None
    if done.returncode and not may_fail:
        lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        raise CannotCheck(f"`{' '.join(command[:3])}` failed: {printable(lines[-1])[:ERROR_CHARS_MAX]}")
    return done.stdout


def json_of(*command: str) -> dict[str, Any]:
    """Return the JSON object that a program prints; raises CannotCheck."""
    try:
        found = json.loads(output_of(*command))
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise CannotCheck(f"`{' '.join(command[:3])}` did not print a JSON object.")
    return found
