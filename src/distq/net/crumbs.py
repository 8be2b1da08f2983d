"""Tells when a peer sends a frame in crumbs: each read costs the server the same, however few bytes it brings."""

from __future__ import annotations

from typing import Final

CRUMB_BYTES: Final = 1024
CRUMBS_MAX: Final = 64
"""Number of reads in a row, each of less than CRUMB_BYTES and without the end of a frame, until the server pauses."""
CRUMBS_PAUSE_S: Final = 0.01
"""Seconds before the next read of such a frame: meanwhile bytes gather in the kernel's buffer, so a link's are not
slowed down."""


class Crumbs:
    """Counts the small reads of one connection."""

    __slots__ = ("_count",)

    def __init__(self) -> None:
        self._count = 0

    def note(self, nbytes: int) -> bool:
        """Count a read that has ended no frame; return whether there were too many small ones."""
        self._count = self._count + 1 if nbytes < CRUMB_BYTES else 0
        return self._count > CRUMBS_MAX

    def end(self) -> None:
        """Begin again: a frame is complete."""
        self._count = 0
