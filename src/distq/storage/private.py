"""Makes files that only their owner can read, whatever the umask: a store, its log, its reserve and its copies."""

import contextlib
import os
import stat
from pathlib import Path
from typing import BinaryIO, Final, cast

MODE: Final = 0o600
_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO
_BESIDE: Final = ("", "-wal", "-journal", "-shm", "-reserve")


def create(path: Path) -> None:
    """Make an empty file if there is none; SQLite gives its logs the mode of their file."""
    with contextlib.suppress(OSError):  # the caller receives the reason when it opens the file
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, MODE))


def open_new(path: Path, *, replace: bool = False) -> BinaryIO:
    """Make a file and open it for writing; `replace` empties a file that exists. Raises OSError."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | (os.O_TRUNC if replace else os.O_EXCL)
    return cast("BinaryIO", os.fdopen(os.open(path, flags, MODE), "wb"))


def tighten(path: Path) -> None:
    """Remove the rights of other users, which an earlier version left, from a store and the files beside it.

    It never opens the files: closing a descriptor of a file ends the locks that this process has on it.
    """
    for suffix in _BESIDE:
        file = path.with_name(path.name + suffix)
        with contextlib.suppress(OSError):  # it is not there, or its volume knows no modes
            found = file.stat()
            if stat.S_ISREG(found.st_mode) and found.st_mode & _OTHERS and found.st_uid == os.geteuid():
                file.chmod(stat.S_IMODE(found.st_mode) & ~_OTHERS)
