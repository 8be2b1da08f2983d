"""The command line: `distq.cli:main`. One file for each command, loaded when it is asked for."""

import sys

INTERRUPTED = 130


def main() -> int:
    """Run the command that the process was given, and return its exit code."""
    try:
        from distq.cli.app import run

        return run(sys.argv[1:])
    except KeyboardInterrupt:  # before the command line took over, or after it
        return INTERRUPTED
