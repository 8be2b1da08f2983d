"""Files with people's data are for their owner alone, whatever the umask: a store, its log, its reserve, its copies."""

import contextlib
import os
import stat
from pathlib import Path
from typing import BinaryIO, Final, cast

MODE: Final = 0o600
_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO
_BESIDE: Final = ("", "-wal", "-journal", "-shm", "-reserve")


def create(path: Path) -> None:
    """Make an empty file where there is none; SQLite gives its logs the mode of their file."""
    with contextlib.suppress(OSError):  # what keeps it from being made is told by who opens it
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, MODE))


def open_new(path: Path, *, replace: bool = False) -> BinaryIO:
    """Open a file for writing that was not there, or (`replace`) that may have been. Raises OSError."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | (os.O_TRUNC if replace else os.O_EXCL)
    return cast("BinaryIO", os.fdopen(os.open(path, flags, MODE), "wb"))


def tighten(path: Path) -> None:
    """Take the rights of others from a store of ours and what lies beside it: an earlier version left them there.

    By name and without opening: closing a descriptor of a file ends the locks that this process has on it.
    """
    for suffix in _BESIDE:
        there = path.with_name(path.name + suffix)
        with contextlib.suppress(OSError):  # it is not there, or its volume knows no modes
            found = there.stat()
            if stat.S_ISREG(found.st_mode) and found.st_mode & _OTHERS and found.st_uid == os.geteuid():
                there.chmod(stat.S_IMODE(found.st_mode) & ~_OTHERS)
