"""The command line: `distq.cli:main`. One file for each command, loaded when it is asked for."""

import os
import sys

from distq.cli.early import INTERRUPTED, hear_ctrl_c, hear_signals, shadowed

USAGE = 2
STANDARD_DESCRIPTORS = 3


def main() -> int:
    """Run the command that the process was given, and return its exit code."""
    hear_signals(sys.argv[1:])
    try:
        _open_standard_streams()
        from distq.cli.app import run

        hear_ctrl_c()
        return run(sys.argv[1:])
    except (ImportError, AttributeError):
        if file := shadowed():
            sys.stderr.write(
                f"distq: {file} stands in the way of the standard library's module of that name. "
                "Rename it, or take its folder out of PYTHONPATH.\n"
            )
            return USAGE
        raise
    except KeyboardInterrupt:  # before the command line took over, or after it
        return INTERRUPTED


def _open_standard_streams() -> None:
    """Whoever started this process may have closed some: then sockets would get their numbers, and logs none."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) < STANDARD_DESCRIPTORS:
        pass
    os.close(descriptor)
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(number, "w" if number else "r"))
