"""The tables of the queue file, as numbered migrations, and the settings that a connection makes first."""

from collections.abc import Sequence
from typing import Final

from distq.storage.sqlite_connection import ConnectionPort

APPLICATION: Final = 0x64737471
"""SQLite's application id in the header of every queue file: `dstq` in ASCII."""

MIGRATIONS: Final[Sequence[Sequence[str]]] = (
    (
        # Heads apart from bodies: loading reads no payload, an amended head writes none, small rows stay dense.
        # Rowid tables: keys grow, and SQLite appends to the right edge of such a table without splitting pages.
        "CREATE TABLE heads (key INTEGER PRIMARY KEY, head BLOB NOT NULL)",
        "CREATE TABLE bodies (key INTEGER PRIMARY KEY, body BLOB NOT NULL)",
        "CREATE TABLE counters (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID",
        "INSERT INTO counters VALUES ('epoch', 0)",
    ),
)
"""Each migration brings the file from version n to n + 1. All of these are released: add new ones, change none."""

VERSION: Final = len(MIGRATIONS)

LOCK: Final = (
    # The first statement of a connection: then WAL's index is on the heap, there is no -shm file, and no second
    # connection can ever write or checkpoint (two of them can lose a commit in SQLite 3.7.0 to 3.51.2).
    "PRAGMA locking_mode = EXCLUSIVE",
)
SHAPE: Final = (
    # They have an effect only on an empty file, before SQLite writes its first byte.
    # A page is 4 KiB: the least that a commit of one task can write.
    "PRAGMA page_size = 4096",
    "PRAGMA auto_vacuum = INCREMENTAL",
)
SETTINGS: Final = (
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = FULL",
    "PRAGMA wal_autocheckpoint = 0",
    # SQLite cuts a log that a huge commit has enlarged to this size when it begins at the log's front again.
    "PRAGMA journal_size_limit = 33554432",
    "PRAGMA temp_store = MEMORY",
    "PRAGMA cache_size = -16384",
    "PRAGMA cell_size_check = ON",
    # Some builds overwrite deleted rows with zeros, which doubles the writes of a drop.
    "PRAGMA secure_delete = OFF",
)


class ForeignFile(Exception):
    """The file is a database of another program."""


class TooNew(Exception):
    """A later release wrote the file; the argument is the version of its tables."""


def prepare(link: ConnectionPort, empty: bool) -> None:
    """Lock the file, check which program wrote it before changing it, then migrate it to VERSION.

    Raises:
        ForeignFile, TooNew: nothing was changed.
        SqliteError: SQLite reports an error, BUSY if another process holds the file.
    """
    for sql in LOCK + SHAPE if empty else LOCK:
        link.run(sql)
    link.run("BEGIN EXCLUSIVE")  # takes the lock, and gives an empty file its header
    version = version_of(link)
    link.run("COMMIT")
    if version > VERSION:
        raise TooNew(version)
    for sql in SETTINGS:
        link.run(sql)
    if version < VERSION:
        migrate(link, version)


def version_of(link: ConnectionPort) -> int:
    """Return the version of the file's tables, 0 for an empty file. Raises ForeignFile."""
    ((application,),) = link.run("PRAGMA application_id")
    if application == APPLICATION:
        ((version,),) = link.run("PRAGMA user_version")
        return int(version)
    ((tables,),) = link.run("SELECT count(*) FROM sqlite_master")
    if application or tables:
        raise ForeignFile
    return 0


def migrate(link: ConnectionPort, version: int) -> None:
    """Run the missing migrations, all in one transaction."""
    link.run("BEGIN IMMEDIATE")
    for migration in MIGRATIONS[version:]:
        for sql in migration:
            link.run(sql)
    link.run(f"PRAGMA user_version = {VERSION}")
    link.run(f"PRAGMA application_id = {APPLICATION}")
    link.run("COMMIT")
