"""Room on the volume: how much is left, and a file that is given up when nothing is.

SQLite needs room even to delete. So new tasks are refused while there is still some left, and the last of it is
held by a file of our own, which is removed when settling or dropping finds the volume full.
"""

import os
from pathlib import Path
from typing import Final, NamedTuple

from distq.storage.private import open_new

MIB: Final = 1 << 20


class Room(NamedTuple):
    """What is kept free on the volume."""

    free_bytes_min: int = 64 * MIB
    """New tasks are refused when less is free."""
    reserve_bytes: int = 32 * MIB
    """Size of the file that is given up."""


class Reserve:
    """The file `<queue file>-reserve`."""

    def __init__(self, path: Path, room: Room) -> None:
        self.path = path.with_name(path.name + "-reserve")
        self.room = room
        self.held = False

    def free_bytes(self) -> int:
        """What is left on the volume, for a user without privileges."""
        volume = os.statvfs(self.path.parent)
        return volume.f_bavail * volume.f_frsize

    def adopt(self) -> None:
        """Hold the reserve if an earlier process has left it."""
        self.held = self.path.is_file() and self.path.stat().st_size == max(self.room.reserve_bytes, 1)

    def take(self) -> None:
        """Hold the reserve, if the volume has room for it beyond what must stay free."""
        if self.held:
            return
        size = self.room.reserve_bytes
        try:
            if self.free_bytes() >= size + self.room.free_bytes_min:
                with open_new(self.path, replace=True) as file:
                    os.posix_fallocate(file.fileno(), 0, max(size, 1))
                self.held = True
        except OSError:
            self.path.unlink(missing_ok=True)

    def give_up(self) -> bool:
        """Remove the file; True if that made room."""
        if not self.held:
            return False
        self.path.unlink(missing_ok=True)
        self.held = False
        return True
