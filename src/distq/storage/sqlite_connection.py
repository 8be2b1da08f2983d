"""The connection to SQLite: it runs a statement with its values and returns rows. Tests use another SQLite for it."""

import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, Protocol

PRIMARY: Final = 0xFF
"""Mask for the lower byte of an extended result code, which is the primary result code."""
ERROR: Final = 1
BUSY: Final = 5
READONLY: Final = 8
IOERR: Final = 10
CORRUPT: Final = 11
FULL: Final = 13
CANTOPEN: Final = 14
TOOBIG: Final = 18
NOTADB: Final = 26
NO_CHECKPOINT_ON_CLOSE: Final = 1006
"""SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE."""


class SqliteError(Exception):
    """SQLite reports an error: `code` is its extended result code, the text is SQLite's own."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code

    @property
    def primary(self) -> int:
        """The result code without its details."""
        return self.code & PRIMARY


class ConnectionPort(Protocol):
    """The methods that the store needs of a connection; it calls all of them on one thread."""

    version: str
    """Version of the SQLite library."""

    def run(self, sql: str, values: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """Run one statement to its end and return its rows. Raises SqliteError."""
        ...

    def close(self) -> None:
        """Close the connection; SQLite makes a last checkpoint. Raises SqliteError."""
        ...

    def abandon(self) -> None:
        """End the connection without a checkpoint, after a failed sync: the cached pages may be wrong."""
        ...


class SqliteConnection:
    """The standard library's sqlite3."""

    version = sqlite3.sqlite_version

    def __init__(self, path: Path) -> None:
        try:
            # Every size of statement stays prepared: six kinds, nine sizes.
            self._connection = sqlite3.connect(path, timeout=0, isolation_level=None, cached_statements=128)
        except sqlite3.Error as exc:
            raise translated(exc) from exc
        self._held: sqlite3.Cursor | None = None

    def run(self, sql: str, values: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """Run one statement to its end and return its rows."""
        try:
            return self._connection.execute(sql, values).fetchall()
        except sqlite3.Error as exc:
            raise translated(exc) from exc

    def close(self) -> None:
        """Close the connection."""
        try:
            self._connection.close()
        except sqlite3.Error as exc:
            raise translated(exc) from exc

    def abandon(self) -> None:
        """Close without a checkpoint; before Python 3.12 the connection stays open until the process ends instead."""
        try:
            if hasattr(self._connection, "setconfig"):
                self._connection.setconfig(NO_CHECKPOINT_ON_CLOSE, True)
                self._connection.close()
            else:
                # A statement that has not ended keeps SQLite from closing, and so from checkpointing.
                self._held = self._connection.execute("SELECT 1 UNION ALL SELECT 2")
                self._held.fetchone()
        except sqlite3.Error:
            pass  # the connection is abandoned because it fails


def translated(exc: sqlite3.Error) -> SqliteError:
    """Return the error with its code, which sqlite3 sets for errors of SQLite itself."""
    return SqliteError(getattr(exc, "sqlite_errorcode", ERROR), str(exc))
