"""Runs `distq doctor` for the tests of Compose and of the chart, and makes the keys of a hardened cluster."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Final

from tests.kit.shell import BIN
from tests.tidy.tree import ROOT

Findings = dict[str, dict[str, str]]

WORKER_KEY, READER_KEY, SIGNING_KEY = (
    f"{name}-xK3vQ9mZ7tR2wB8nL5cJ1hF6dS4gP0aY" for name in ("team", "reader", "sign")
)
KEY_LINES: Final = f"team work {WORKER_KEY} default\nreader read {READER_KEY}\n"
OF_THE_MACHINE: Final = frozenset({"store-room", "compose-user"})
"""Checks whose findings depend on the machine that runs the tests: room on its disk, images that it has."""


def doctor(*options: str, code: int, **settings: str) -> Findings:
    """Run the doctor on this machine, and return its findings by check; its output has no key."""
    environ = {name: text for name, text in os.environ.items() if not name.startswith("DISTQ_")}
    done = subprocess.run(
        [sys.executable, "-m", "distq", "doctor", "--json", *options],
        cwd=ROOT,
        env={**environ, "PATH": f"{BIN}:{os.environ['PATH']}", **settings},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == code, done.stdout + done.stderr
    assert not [key for key in (WORKER_KEY, READER_KEY, SIGNING_KEY, settings["DISTQ_AUTHKEY"]) if key in done.stdout]
    return {found["check"]: found for found in json.loads(done.stdout)["checks"]}


def other_than_ok(findings: Findings) -> dict[str, str]:
    """Return the state of each finding that is not ok, apart from those that depend on the machine."""
    return {
        name: found["state"]
        for name, found in findings.items()
        if found["state"] != "ok" and name not in OF_THE_MACHINE
    }


def readable(path: Path, text: str) -> Path:
    """Write a file that the user of a container can read."""
    path.write_text(text)
    path.chmod(0o644)
    return path
