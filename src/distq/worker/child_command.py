"""Starts distq commands as child processes that end with this process, for `distq up` and `distq demo`."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from distq.net.stop_signals import STOP_SIGNALS
from distq.worker.executor.parent_death import die_with_parent


@contextmanager
def child_command(
    arguments: Sequence[str],
    environ: Mapping[str, str],
    *,
    folder: Path | None = None,
    output: int | None = None,
) -> Iterator["subprocess.Popen[bytes]"]:
    """Start `distq ARGUMENTS` in a process group of its own; the kernel kills it when this thread ends.

    The stop signals stay blocked for the length of the `with`, in which the caller notes the process: a signal that
    arrives before the note would leave the process behind. `output` is where standard output and error go.
    """
    parent_pid = os.getpid()

    def between_fork_and_exec() -> None:
        die_with_parent(parent_pid)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)

    previous = signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
    try:
        yield subprocess.Popen(  # noqa: S603 - this Python, and arguments of our caller
            [sys.executable, "-m", "distq", *arguments],
            env=environ,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=None if output is None else subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=between_fork_and_exec,  # noqa: PLW1509 - it takes no lock
        )
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, previous)
