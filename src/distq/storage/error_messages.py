"""Messages for operators: what each error of SQLite means, in which file, and how to remove its cause."""

import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from distq.core.ports import StoreError
from distq.storage import sqlite_connection
from distq.storage.sqlite_connection import SqliteError


class StoreUnusable(StoreError):
    """The file cannot be used as it is; nothing in it was changed."""

    code = "STORE_UNUSABLE"


def mode_of(path: Path) -> int:
    """Return the mode of the file or folder at `path`, 0 if there is none.

    From Python 3.14 on, `Path.exists` and the like return False for a path that this user may not look at.

    Raises:
        OSError: this user may not look at the path.
    """
    try:
        return path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return 0


def check_place(path: Path) -> None:
    """Raise StoreUnusable for each fault that shows without opening the file.

    This function never opens the file: closing any descriptor of it would end the locks of this process.
    """
    folder = path.parent
    if not stat.S_ISDIR(mode_of(folder)):
        raise StoreUnusable(f"The folder {folder} of the store {path.name} does not exist: create it or mount it.")
    if stat.S_ISDIR(mode_of(path)):
        raise StoreUnusable(f"The store {path} is a folder; it must be a file, such as {path / 'queue.db'}.")
    wal = path.with_name(path.name + "-wal")
    for place in (path, wal, folder):
        try:
            if mode_of(place) and not writable(place):
                raise StoreUnusable(
                    f"The {'folder' if place == folder else 'file'} {place} cannot be written by this user: "
                    "change its owner or mode, or mount it read-write."
                )
        except PermissionError:
            raise StoreUnusable(
                f"The file or folder {place} cannot be looked at by this user: change its owner or mode."
            ) from None


def writable(path: Path) -> bool:
    """Whether this process may read and write the path, by its mode and its mount."""
    return os.access(path, os.R_OK | os.W_OK)


def foreign_file(path: Path) -> StoreUnusable:
    """Return the error for a file that is a database of another program."""
    return StoreUnusable(f"The file {path} is a database of another program: name another file in DISTQ_STORE.")


def too_new(path: Path, version: int, known_version: int) -> StoreUnusable:
    """Return the error for a file that a later release wrote; this release reads tables up to version `ours`."""
    return StoreUnusable(
        f"The file {path} was written by a newer distq (its tables are version {version}, this one knows up to "
        f"{known_version}): run that release, or restore the backup made before the upgrade."
    )


MEANINGS: Final[Mapping[int, str]] = {
    sqlite_connection.NOTADB: "The file {} is not a database: name another file in DISTQ_STORE, or move this one away.",
    sqlite_connection.CORRUPT: "The file {} is damaged: restore a backup, or move it away to begin empty.",
    sqlite_connection.READONLY: "The file {} is read-only: change its owner or mode, or mount its volume read-write.",
    sqlite_connection.CANTOPEN: "The file {} cannot be opened: check its folder and the permissions.",
    sqlite_connection.FULL: "The volume of {} is full: make room on it.",
    sqlite_connection.IOERR: "The disk of {} failed to read, write or sync: check it, then start the master again.",
    sqlite_connection.TOOBIG: "A row is too large for {}: pass a reference instead of the data.",
}


def explain(path: Path, error: SqliteError) -> str:
    """Return a message for an error: what has happened, and what the operator must do."""
    meaning = MEANINGS.get(error.primary, "{} cannot be used.")
    return f"{meaning.format(path)} SQLite says: {error}."
