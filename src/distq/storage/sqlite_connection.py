"""The one connection to SQLite: a statement and its values in, rows out. Tests put another SQLite behind it."""

import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, Protocol

PRIMARY: Final = 0xFF
"""The lower byte of an extended result code is the primary one."""
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
    """SQLite said no: `code` is its extended result code, the text its own words."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code

    @property
    def primary(self) -> int:
        """The result code without its details."""
        return self.code & PRIMARY


class ConnectionPort(Protocol):
    """What the store asks of a connection. Everything is called on one thread."""

    version: str
    """Of the SQLite library."""

    def run(self, sql: str, values: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """Run one statement to its end and return its rows. Raises LinkError."""
        ...

    def close(self) -> None:
        """Close: SQLite checkpoints once more. Raises LinkError."""
        ...

    def abandon(self) -> None:
        """Let go without a checkpoint, after a failed sync: what the cache holds is not to be trusted on the way."""
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
        """Close without a checkpoint; before Python 3.12 the only way is to stay open until the process ends."""
        try:
            if hasattr(self._connection, "setconfig"):
                self._connection.setconfig(NO_CHECKPOINT_ON_CLOSE, True)
                self._connection.close()
            else:
                # A statement that has not ended keeps SQLite from closing, and so from checkpointing.
                self._held = self._connection.execute("SELECT 1 UNION ALL SELECT 2")
                self._held.fetchone()
        except sqlite3.Error:
            pass  # it is being let go because it fails


def translated(exc: sqlite3.Error) -> SqliteError:
    """The error with its code, which the standard library gives for what SQLite itself has said."""
    return SqliteError(getattr(exc, "sqlite_errorcode", ERROR), str(exc))
