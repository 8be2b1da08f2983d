"""Turns errors of the system about a path or the output into sentences, for every command."""

import errno
import os
import sys
from pathlib import Path
from typing import Final

from distq.cli import USAGE
from distq.core.errors import DistqError

OF_THE_MACHINE: Final = frozenset(
    {errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG, errno.EROFS, errno.EIO, errno.ESTALE}
)
"""Errors about a path whose cause is the machine: permissions, broken links, broken volumes."""

OF_A_FULL_DISK: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
"""Errors of a write to a full volume, or beyond a quota or a limit on the size of a file."""

WRITERS: Final = ("click", "rich", "distq.cli")
"""Packages that write to the standard streams: an error that one of them raises is that of the output."""


class PathRefused(DistqError):
    """A file or folder cannot be used."""

    code = "PATH_REFUSED"
    hint = (
        "This user must be able to read the file and to enter each folder above it. On Kubernetes the chart's fsGroup "
        "gives most volumes to the user of distq's images, 65532; on NFS and host paths, change the owner there."
    )
    exit_code = USAGE


class OutputRefused(DistqError):
    """Standard output cannot be written."""

    code = "OUTPUT_REFUSED"


class DiskFull(DistqError):
    """A volume has no room for what distq must write."""

    code = "DISK_FULL"
    hint = "`df` shows which volume is full: that of the store (DISTQ_STORE), of /tmp, or of the log."


def in_words(error: Exception, *, is_service: bool = False) -> Exception:
    """Return the error, or in its place a sentence if the system refuses the output, a path, or room on a volume.

    A service's output is its log, whose errors do not end it: an error that ends it is that of another file.
    """
    if isinstance(error, OSError) and error.errno in OF_A_FULL_DISK:
        if error.filename is None and not is_service and (_cannot_flush() or _is_of_output(error)):
            return OutputRefused(f"The output cannot be written: {error.strerror}.")
        subject = "A file of this process" if error.filename is None else _text_of(error.filename)
        return DiskFull(f"{subject} cannot be written: {error.strerror}.")
    if not isinstance(error, OSError) or error.errno not in OF_THE_MACHINE or error.filename is None:
        return error
    path = _text_of(error.filename)
    return PathRefused(f"{path}{_where(path)} cannot be used by user {os.getuid()}: {error.strerror}.")


def _text_of(path: object) -> str:
    return os.fsdecode(path) if isinstance(path, str | bytes) else str(path)


def _is_of_output(error: OSError) -> bool:
    """Whether the code that writes to the standard streams has raised the error: an unbuffered stream keeps nothing."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    module = "" if trace is None else str(trace.tb_frame.f_globals.get("__name__", ""))
    return any(module == writer or module.startswith(f"{writer}.") for writer in WRITERS)


def _cannot_flush() -> bool:
    """Whether standard output or standard error cannot be written; drops what it holds, which would fail the exit."""
    failed = False
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            failed = True
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, stream.fileno())
            os.close(null)
    return failed


def _where(path: str) -> str:
    """Return the current folder as a clause, for a relative path."""
    if Path(path).is_absolute():
        return ""
    try:
        return f" in the current folder, {Path.cwd()},"
    except OSError:
        return " in the current folder"
