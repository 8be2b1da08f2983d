"""A program that copies a store, and stops for ever after a number of commits."""

import subprocess
import sys
import threading

from tests.tidy.tree import ROOT

from distq.storage import copying


def stopping_copy(source: str, to: str, commits: int, rows: int) -> "subprocess.Popen[str]":
    """Start the program; it prints a line when it has stopped after `commits` commits of at most `rows` rows."""
    command = [sys.executable, "-m", "tests.storage.copying_program", source, to, str(commits), str(rows)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)


def main(source: str, to: str, commits: str, rows: str) -> None:
    """Copy, and stop."""
    copying.ROWS_MAX = int(rows)  # type: ignore[misc]
    left = int(commits)

    def progress(done: int, _rows: int) -> None:
        nonlocal left
        left -= 1
        if not left:
            print(done, flush=True)
            threading.Event().wait()

    copying.copy(copying.StorePlace(source, {}, None), copying.StorePlace(to, {}, None), progress)


if __name__ == "__main__":
    main(*sys.argv[1:])
