"""The free bytes of the volume, and a reserve file that the store removes when the volume is full.

SQLite needs free bytes even to delete. So the store refuses new tasks while some are left, and keeps the last of them
in the reserve file, which it removes when settling or dropping a task finds the volume full.
"""

import os
from pathlib import Path
from typing import Final, NamedTuple

from distq.storage.private import open_new

MIB: Final = 1 << 20


class SpaceLimits(NamedTuple):
    """The bytes that are kept free on the volume."""

    free_bytes_min: int = 64 * MIB
    """The store refuses new tasks when less than this is free."""
    reserve_bytes: int = 32 * MIB
    """Size of the reserve file."""


class Reserve:
    """The file `<queue file>-reserve`."""

    def __init__(self, path: Path, limits: SpaceLimits) -> None:
        self.path = path.with_name(path.name + "-reserve")
        self.limits = limits
        self.held = False

    def free_bytes(self) -> int:
        """Return the free bytes of the volume for a user without privileges."""
        volume = os.statvfs(self.path.parent)
        return volume.f_bavail * volume.f_frsize

    def adopt(self) -> None:
        """Hold the reserve file if an earlier process has left it."""
        self.held = self.path.is_file() and self.path.stat().st_size == max(self.limits.reserve_bytes, 1)

    def take(self) -> None:
        """Make and hold the reserve file, if the volume has room for it beyond `free_bytes_min`."""
        if self.held:
            return
        size = self.limits.reserve_bytes
        try:
            if self.free_bytes() >= size + self.limits.free_bytes_min:
                with open_new(self.path, replace=True) as file:
                    os.posix_fallocate(file.fileno(), 0, max(size, 1))
                self.held = True
        except OSError:
            self.path.unlink(missing_ok=True)

    def give_up(self) -> bool:
        """Remove the reserve file; return whether that made room."""
        if not self.held:
            return False
        self.path.unlink(missing_ok=True)
        self.held = False
        return True
