"""Reads SQLite's write-ahead log as a file: how many of its bytes are not yet in the queue file.

A folded log is not cut off: the next commits write over its blocks, and a sync of blocks that a file has already is
a third faster than one that makes it grow. So its size does not show how much is still to be folded. The salts do:
SQLite draws new ones for each round, when it begins at the front of the log again, and a frame is valid only with the
salts of the header. Format: https://sqlite.org/fileformat2.html#the_write_ahead_log
"""

import os
import struct
from pathlib import Path
from typing import Final

HEADER: Final = struct.Struct(">8xI4x8s8x")
"""The header of the log: page size and salts."""
FRAME_HEADER_BYTES: Final = 24
FRAME_SALTS: Final = slice(8, 16)


class Wal:
    """The file `<queue file>-wal`, which SQLite makes and removes."""

    def __init__(self, queue_file: Path) -> None:
        self.path = queue_file.with_name(queue_file.name + "-wal")
        self._salts = b""
        """Salts of the round that was counted last."""
        self._frames = 0
        """Number of frames counted in that round."""
        self._folded = b""
        """Salts of a round that is wholly in the queue file."""

    def size(self) -> int:
        """Return the bytes of the log on the volume."""
        try:
            return self.path.stat().st_size
        except OSError:
            return 0

    def folded(self) -> None:
        """Record that all frames that the log has now are in the queue file too."""
        self.unfolded_bytes()
        self._folded = self._salts

    def unfolded_bytes(self) -> int:
        """Return the bytes that only the log has, with those of a failed commit behind them, in O(log n) reads."""
        try:
            with self.path.open("rb", buffering=0) as file:
                header = file.read(HEADER.size)
                if len(header) < HEADER.size:
                    return 0
                page_bytes, salts = HEADER.unpack(header)
                if salts == self._folded:
                    return 0
                if salts != self._salts:
                    self._salts, self._frames = salts, 0
                return self._count(file.fileno(), FRAME_HEADER_BYTES + page_bytes)
        except OSError:
            return 0

    def _count(self, fd: int, frame_bytes: int) -> int:
        """Return the end of this round's last frame, searched from the last count in growing steps, then by halves."""

        def counts(frame: int) -> bool:
            return os.pread(fd, FRAME_HEADER_BYTES, HEADER.size + frame * frame_bytes)[FRAME_SALTS] == self._salts

        first, step = self._frames, 1
        while counts(first + step - 1):
            first += step
            step *= 2
        end = first + step - 1
        while first < end:
            middle = (first + end) // 2
            if counts(middle):
                first = middle + 1
            else:
                end = middle
        self._frames = first
        return HEADER.size + first * frame_bytes
