"""Stamps of files: a process sees by them that a file was replaced, or that its text has changed."""

from __future__ import annotations

import os
import time
from typing import Final

FRESH_NS: Final = 100_000_000
"""Nanoseconds after a change in which another one may leave the same stamp: file systems count in steps of 10 ms."""

_clock_ns = time.time_ns  # the edge: stamps have the clock's time
Stamp = tuple[int, int, int, int, int]
"""Device, inode, size, and the times of the last change of the text and of the file, in nanoseconds."""


def stamp_of(path: str) -> Stamp | None:
    """Return what changes when a file is replaced, or the link to it, or its text; None for a missing file."""
    try:
        found = os.stat(path)  # noqa: PTH116 - pathlib takes ten times as long
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def is_fresh(stamp: Stamp | None) -> bool:
    """Whether a file was changed just now, so that another change of its text may leave its stamp as it is."""
    return stamp is not None and abs(_clock_ns() - stamp[-1]) < FRESH_NS
