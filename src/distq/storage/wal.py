"""Reads SQLite's write-ahead log as a file: how many of its bytes are not yet in the queue file.

SQLite does not truncate the log after it has copied it to the queue file: the next commits write over its blocks, and
a sync of blocks that a file has already is a third faster than one that makes it grow. So the size of the log does not
show how many bytes SQLite must still copy. The salts do: SQLite draws new ones for each round, when it begins at the
front of the log again, and a frame is valid only with the salts of the header.

Format: https://sqlite.org/fileformat2.html#the_write_ahead_log
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
        self._counted_salts = b""
        """Salts of the round that was counted last."""
        self._counted_frames = 0
        """Number of frames counted in that round."""
        self._copied_salts = b""
        """Salts of the last round that SQLite has copied completely to the queue file."""

    def size_bytes(self) -> int:
        """Return the bytes of the log on the volume."""
        try:
            return self.path.stat().st_size
        except OSError:
            return 0

    def note_all_copied(self) -> None:
        """Record that all frames that the log has now are in the queue file too."""
        self.uncopied_bytes()
        self._copied_salts = self._counted_salts

    def uncopied_bytes(self) -> int:
        """Return the bytes that only the log has, with those of a failed commit behind them, in O(log n) reads."""
        try:
            with self.path.open("rb", buffering=0) as file:
                header = file.read(HEADER.size)
                if len(header) < HEADER.size:
                    return 0
                page_bytes, salts = HEADER.unpack(header)
                if salts == self._copied_salts:
                    return 0
                if salts != self._counted_salts:
                    self._counted_salts, self._counted_frames = salts, 0
                return self._end_of_round(file.fileno(), FRAME_HEADER_BYTES + page_bytes)
        except OSError:
            return 0

    def _end_of_round(self, fd: int, frame_bytes: int) -> int:
        """Return the end of this round's last frame, searched from the last count in growing steps, then by halves."""

        def counts(frame: int) -> bool:
            header = os.pread(fd, FRAME_HEADER_BYTES, HEADER.size + frame * frame_bytes)
            return header[FRAME_SALTS] == self._counted_salts

        first, step = self._counted_frames, 1
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
        self._counted_frames = first
        return HEADER.size + first * frame_bytes
