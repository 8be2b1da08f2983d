"""A disk that loses power: SQLite runs on it through apsw, and data that was not synced may be lost afterwards.

`kill -9` cannot show a missing sync, because the kernel keeps what was written. Here every write waits in a list
until its file is synced; at the cut some of the waiting ones reach the platter, in any order, and the rest do not.
"""

import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import apsw

from distq.storage.sqlite_connection import SqliteError

VFS = "power"
SECTOR = 512


class PowerCut(Exception):
    """The machine has no power."""


class Platter:
    """One file: the content that programs see, the synced content, and the changes that wait for a sync."""

    def __init__(self) -> None:
        self.seen = bytearray()
        self.safe = bytearray()
        self.waiting: list[Callable[[bytearray], None]] = []
        self.durable_name = False

    def change(self, change: Callable[[bytearray], None]) -> None:
        """Make a change that programs see immediately, and that is safe after a sync."""
        change(self.seen)
        self.waiting.append(change)

    def sync(self) -> None:
        """Make all changes safe, and the name in its folder: SQLite syncs the folder with a new log's first sync."""
        self.safe = bytearray(self.seen)
        self.waiting.clear()
        self.durable_name = True


class Disk:
    """Files in memory, and a count of the changes to them until the power cut."""

    def __init__(self) -> None:
        self.files: dict[str, Platter] = {}
        self.done = 0
        self.cut_at: int | None = None
        self.off = False

    def step(self) -> bool:
        """Count one change of the disk. Raises PowerCut at the chosen one; returns False after the power cut."""
        if self.off:
            return False
        self.done += 1
        if self.done == self.cut_at:
            self.off = True
            raise PowerCut
        return True

    def restored(self, chance: random.Random) -> "Disk":
        """Return the disk after a restart: all synced changes, and some of the others, torn at sectors."""
        found = Disk()
        keep = chance.choice([0.0, 0.0, 0.5, 0.9])
        for name, platter in self.files.items():
            if not platter.durable_name and chance.random() >= keep:
                continue
            left = found.files[name] = Platter()
            left.seen = bytearray(platter.safe)
            for change in platter.waiting:
                if chance.random() < keep:
                    change(left.seen)
            left.sync()
        return found


class PowerFile:
    """An open file on the disk; apsw calls it."""

    def __init__(self, disk: Disk, platter: Platter) -> None:
        self.disk = disk
        self.platter = platter

    def xRead(self, amount: int, offset: int) -> bytes:  # noqa: N802 - SQLite's name
        """Return the bytes at an offset."""
        return bytes(self.platter.seen[offset : offset + amount])

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802
        """Write sector by sector, because a power cut can tear a write."""
        for start in range(0, len(data), SECTOR):
            if self.disk.step():
                self.platter.change(overwriting(bytes(data[start : start + SECTOR]), offset + start))

    def xTruncate(self, size: int) -> None:  # noqa: N802
        """Cut off the end of the file."""
        if self.disk.step():
            self.platter.change(cutting(size))

    def xSync(self, flags: int) -> None:  # noqa: N802
        """Make all writes safe, which no other method does."""
        if self.disk.step():
            self.platter.sync()

    def xFileSize(self) -> int:  # noqa: N802
        """Return the size in bytes."""
        return len(self.platter.seen)

    def xLock(self, level: int) -> None:  # noqa: N802
        """Do nothing: no other process uses the disk."""

    xUnlock = xLock  # noqa: N815

    def xCheckReservedLock(self) -> bool:  # noqa: N802
        """Return False: no other process uses the disk."""
        return False

    def xFileControl(self, op: int, ptr: int) -> bool:  # noqa: N802
        """Return False: the disk knows no control."""
        return False

    def xSectorSize(self) -> int:  # noqa: N802
        """Return the bytes of a sector."""
        return SECTOR

    def xDeviceCharacteristics(self) -> int:  # noqa: N802
        """Return the characteristics that SQLite assumes on Linux."""
        return int(apsw.SQLITE_IOCAP_POWERSAFE_OVERWRITE)

    def xClose(self) -> None:  # noqa: N802
        """Close the file without a sync."""


def overwriting(data: bytes, offset: int) -> Callable[[bytearray], None]:
    """Return the change that a write makes; a gap before it reads as zeros."""

    def change(content: bytearray) -> None:
        content.extend(bytes(max(0, offset - len(content))))
        content[offset : offset + len(data)] = data

    return change


def cutting(size: int) -> Callable[[bytearray], None]:
    """Return the change that a truncation makes."""

    def change(content: bytearray) -> None:
        del content[size:]

    return change


class PowerVFS(apsw.VFS):
    """Makes SQLite use the present disk."""

    def __init__(self) -> None:
        self.disk = Disk()
        super().__init__(VFS, "")

    def xOpen(self, name: str | apsw.URIFilename | None, flags: list[int]) -> Any:  # noqa: N802
        """Open a file, which is made if it does not exist."""
        text = name.filename() if isinstance(name, apsw.URIFilename) else str(name)
        flags[1] = flags[0]
        return PowerFile(self.disk, self.disk.files.setdefault(text, Platter()))

    def xDelete(self, name: str, syncdir: bool) -> None:  # noqa: N802
        """Remove a file; if SQLite has the folder synced, the removal is safe."""
        if self.disk.step():
            self.disk.files.pop(name, None)

    def xAccess(self, name: str, flags: int) -> bool:  # noqa: N802
        """Whether the file exists."""
        return name in self.disk.files

    def xFullPathname(self, name: str) -> str:  # noqa: N802
        """Return the name: it is a full path already."""
        return name


def refusal(exc: apsw.Error) -> SqliteError:
    """Return the error as the store knows it; apsw's types do not declare the code."""
    return SqliteError(getattr(exc, "extendedresult", 1), str(exc))


class ApswLink:
    """The store's connection, which uses apsw's SQLite."""

    version = apsw.sqlite_lib_version()

    def __init__(self, path: Path) -> None:
        try:
            self.connection = apsw.Connection(str(path), vfs=VFS)
        except apsw.Error as exc:
            raise refusal(exc) from exc

    def run(self, sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Run one statement and return its rows."""
        try:
            return self.connection.execute(sql, tuple(values)).fetchall()
        except apsw.Error as exc:
            raise refusal(exc) from exc

    def close(self) -> None:
        """Close the connection; errors of a machine without power are ignored."""
        with suppress(apsw.Error, PowerCut):
            self.connection.close()

    def abandon(self) -> None:
        """Close without a checkpoint."""
        self.connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
        self.close()


class CarelessLink(ApswLink):
    """The same connection without syncs, whose losses the tests must detect."""

    def run(self, sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Run the statement, except the one that turns syncs on."""
        return super().run(sql.replace("synchronous = FULL", "synchronous = OFF"), values)


def power_vfs() -> Iterator[PowerVFS]:
    """Register a disk that can lose power, and remove it after the tests; the body of a fixture."""
    vfs = PowerVFS()
    yield vfs
    vfs.unregister()
