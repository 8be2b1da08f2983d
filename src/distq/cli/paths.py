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
"""Errors of a write; one without a path is that of the output."""


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


def in_words(error: Exception) -> Exception:
    """Return the error, or in its place an OutputRefused or PathRefused if the system refuses the output or a path."""
    if isinstance(error, OSError) and error.errno in OF_A_FULL_DISK and error.filename is None:
        _drop_output()
        return OutputRefused(f"The output cannot be written: {error.strerror}.")
    if not isinstance(error, OSError) or error.errno not in OF_THE_MACHINE or error.filename is None:
        return error
    path = os.fsdecode(error.filename) if isinstance(error.filename, str | bytes) else str(error.filename)
    return PathRefused(f"{path}{_where(path)} cannot be used by user {os.getuid()}: {error.strerror}.")


def _drop_output() -> None:
    """Drop what standard output has buffered if it cannot be written: the exit would fail with it too."""
    try:
        sys.stdout.flush()
    except OSError:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, sys.stdout.fileno())
        os.close(null)


def _where(path: str) -> str:
    """Return the current folder as a clause, for a relative path."""
    if Path(path).is_absolute():
        return ""
    try:
        return f" in the current folder, {Path.cwd()},"
    except OSError:
        return " in the current folder"
