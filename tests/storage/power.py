"""A disk that loses power: SQLite runs on it through apsw, and what was not synced may be gone afterwards.

`kill -9` cannot show a missing sync, because the kernel keeps what was written. Here every write waits in a list
until its file is synced; at the cut some of the waiting ones reach the platter, in any order, and the rest do not.
"""

import random
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import apsw

from distq.storage.sqlite_connection import SqliteError

VFS = "power"
SECTOR = 512


class PowerCut(Exception):
    """The machine is off."""


class Platter:
    """One file: what programs see, what is safe, and what waits for a sync."""

    def __init__(self) -> None:
        self.seen = bytearray()
        self.safe = bytearray()
        self.waiting: list[Callable[[bytearray], None]] = []
        self.durable_name = False

    def change(self, change: Callable[[bytearray], None]) -> None:
        """Seen at once, safe after a sync."""
        change(self.seen)
        self.waiting.append(change)

    def sync(self) -> None:
        """All of it is safe, the name in its folder too: SQLite syncs the folder with a new log's first sync."""
        self.safe = bytearray(self.seen)
        self.waiting.clear()
        self.durable_name = True


class Disk:
    """Files in memory, and a count of what is done to them, up to the cut."""

    def __init__(self) -> None:
        self.files: dict[str, Platter] = {}
        self.done = 0
        self.cut_at: int | None = None
        self.off = False

    def step(self) -> bool:
        """Count one change of the disk. Raises PowerCut at the chosen one; False when the power is off already."""
        if self.off:
            return False
        self.done += 1
        if self.done == self.cut_at:
            self.off = True
            raise PowerCut
        return True

    def after_power_is_back(self, chance: random.Random) -> "Disk":
        """What is found: all that was synced, and some of the rest, torn at sectors."""
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
        """The bytes there."""
        return bytes(self.platter.seen[offset : offset + amount])

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802
        """Sector by sector: a write can be torn."""
        for start in range(0, len(data), SECTOR):
            if self.disk.step():
                self.platter.change(overwriting(bytes(data[start : start + SECTOR]), offset + start))

    def xTruncate(self, size: int) -> None:  # noqa: N802
        """Cut the end off."""
        if self.disk.step():
            self.platter.change(cutting(size))

    def xSync(self, flags: int) -> None:  # noqa: N802
        """The one thing that makes writes safe."""
        if self.disk.step():
            self.platter.sync()

    def xFileSize(self) -> int:  # noqa: N802
        """Bytes."""
        return len(self.platter.seen)

    def xLock(self, level: int) -> None:  # noqa: N802
        """There is nobody else."""

    xUnlock = xLock  # noqa: N815

    def xCheckReservedLock(self) -> bool:  # noqa: N802
        """There is nobody else."""
        return False

    def xFileControl(self, op: int, ptr: int) -> bool:  # noqa: N802
        """None is known."""
        return False

    def xSectorSize(self) -> int:  # noqa: N802
        """Bytes."""
        return SECTOR

    def xDeviceCharacteristics(self) -> int:  # noqa: N802
        """As on Linux."""
        return int(apsw.SQLITE_IOCAP_POWERSAFE_OVERWRITE)

    def xClose(self) -> None:  # noqa: N802
        """Nothing is flushed."""


def overwriting(data: bytes, offset: int) -> Callable[[bytearray], None]:
    """The change that a write is; a gap before it reads as zeros."""

    def change(content: bytearray) -> None:
        content.extend(bytes(max(0, offset - len(content))))
        content[offset : offset + len(data)] = data

    return change


def cutting(size: int) -> Callable[[bytearray], None]:
    """The change that a truncation is."""

    def change(content: bytearray) -> None:
        del content[size:]

    return change


class PowerVFS(apsw.VFS):
    """Puts SQLite on the present disk."""

    def __init__(self) -> None:
        self.disk = Disk()
        super().__init__(VFS, "")

    def xOpen(self, name: str | apsw.URIFilename | None, flags: list[int]) -> Any:  # noqa: N802
        """An old file or a new one."""
        text = name.filename() if isinstance(name, apsw.URIFilename) else str(name)
        flags[1] = flags[0]
        return PowerFile(self.disk, self.disk.files.setdefault(text, Platter()))

    def xDelete(self, name: str, syncdir: bool) -> None:  # noqa: N802
        """SQLite asks for the folder to be synced where it matters: then the file is gone for good."""
        if self.disk.step():
            self.disk.files.pop(name, None)

    def xAccess(self, name: str, flags: int) -> bool:  # noqa: N802
        """Whether it is there."""
        return name in self.disk.files

    def xFullPathname(self, name: str) -> str:  # noqa: N802
        """Names are full."""
        return name


def refusal(exc: apsw.Error) -> SqliteError:
    """The error as the store knows it; apsw's types do not tell of the code."""
    return SqliteError(getattr(exc, "extendedresult", 1), str(exc))


class ApswLink:
    """The store's connection, with apsw's SQLite behind it."""

    version = apsw.sqlite_lib_version()

    def __init__(self, path: Path) -> None:
        try:
            self.connection = apsw.Connection(str(path), vfs=VFS)
        except apsw.Error as exc:
            raise refusal(exc) from exc

    def run(self, sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Rows of one statement."""
        try:
            return self.connection.execute(sql, tuple(values)).fetchall()
        except apsw.Error as exc:
            raise refusal(exc) from exc

    def close(self) -> None:
        """Close; what a machine without power says to it is of no interest."""
        with suppress(apsw.Error, PowerCut):
            self.connection.close()

    def abandon(self) -> None:
        """Close without a checkpoint."""
        self.connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
        self.close()


class CarelessLink(ApswLink):
    """The same without syncs: what the tests must be able to notice."""

    def run(self, sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """As asked, but for the one setting."""
        return super().run(sql.replace("synchronous = FULL", "synchronous = OFF"), values)
