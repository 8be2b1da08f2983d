"""The commands of `distq`, as the programs of this folder call them."""

import subprocess
import sys


def command(*arguments: str) -> str:
    """Return the output of a command, and of its errors."""
    done = subprocess.run(
        [sys.executable, "-m", "distq", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    return done.stdout.strip()
