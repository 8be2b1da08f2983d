"""The command line: `distq.cli:main`. Each command is a file, which is imported when the command is run."""

import io
import os
import sys

from distq.cli.early import INTERRUPTED, handle_signals, shadowed

USAGE = 2
STANDARD_DESCRIPTORS = 3


def main() -> int:
    """Run the command that the process was given, and return its exit code."""
    handle_signals(sys.argv[1:])
    try:
        _open_standard_streams()
        from distq.cli.app import run

        return run(sys.argv[1:])
    except (ImportError, AttributeError):
        if file := shadowed():
            sys.stderr.write(
                f"distq: {file} hides the standard library's module of that name. "
                "Rename it, or remove its folder from PYTHONPATH.\n"
            )
            return USAGE
        raise
    except KeyboardInterrupt:  # before click handles Ctrl-C, or after it
        return INTERRUPTED


def _open_standard_streams() -> None:
    """Open the standard streams that the parent process closed: sockets would otherwise get their numbers."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) < STANDARD_DESCRIPTORS:
        pass
    os.close(descriptor)
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(number, "w" if number else "r"))
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors in ("strict", "surrogateescape"):
        sys.stdout.reconfigure(errors="backslashreplace")  # as stderr: an encoding may lack characters of a name
