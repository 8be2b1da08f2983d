"""SQLite's write-ahead log, seen as a file: how much of it counts.

A folded log is not cut off: the next commits write over its blocks, and a sync of blocks that a file has already is
a third faster than one that makes it grow. So its size says nothing about how much is still to be folded. What does
are the salts: SQLite draws new ones whenever it begins at the front again, and a frame counts only with the salts
of the header. Format: https://sqlite.org/fileformat2.html#the_write_ahead_log
"""

import os
import struct
from pathlib import Path
from typing import Final

HEADER: Final = struct.Struct(">8xI4x8s8x")
"""Page size, salts."""
FRAME_HEADER_BYTES: Final = 24
FRAME_SALTS: Final = slice(8, 16)


class Wal:
    """The file `<queue file>-wal`. SQLite makes it and takes it away."""

    def __init__(self, queue_file: Path) -> None:
        self.path = queue_file.with_name(queue_file.name + "-wal")
        self._salts = b""
        """Of the round that was counted last."""
        self._frames = 0
        """Number of frames counted in that round."""
        self._folded = b""
        """Salts of a round that is wholly in the queue file."""

    def size(self) -> int:
        """Bytes on the volume."""
        try:
            return self.path.stat().st_size
        except OSError:
            return 0

    def folded(self) -> None:
        """All that is there at present is now in the queue file too."""
        self.unfolded_bytes()
        self._folded = self._salts

    def unfolded_bytes(self) -> int:
        """Bytes of what only the log has, and of a commit that failed behind it. O(log n) reads."""
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
        """The end of the last frame of this round: in growing steps from where it was, then by halves."""

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
