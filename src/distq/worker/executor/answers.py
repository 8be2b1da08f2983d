"""How many answers go into one exchange: as many as one frame of that master holds, whatever has gathered.

An answer that no frame holds becomes a final failure that says so, alone: its neighbours arrive.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, MutableSequence, Sequence
from typing import TYPE_CHECKING, Any, Final

from distq.core.task import Outcome, id_text
from distq.tasks.failure import ResultNotSent, cause_of, pack_failure
from distq.worker.shared.reports import Reporter, Trouble

if TYPE_CHECKING:
    from distq.worker.executor.rows import Settled

FLUSH_BYTES: Final = 4 << 20
"""Bytes of answers after which they are sent at the latest, and that one exchange carries if each alone is smaller."""
ROW_BYTES: Final = 128
"""At most so many bytes go into a frame for an answer besides its body and its text."""
CALL_BYTES: Final = 1024
"""At most so many bytes go into a frame besides its answers."""
CHAR_BYTES_MAX: Final = 4


FAILURES: Final = (Outcome.FAILURE, Outcome.TIMEOUT)
WITH_BODIES: Final = (Outcome.SUCCESS, Outcome.PART, Outcome.CHECKPOINT, Outcome.FATAL, *FAILURES)
"""Outcomes of answers that a failure can take the place of: what else there is has no body to be refused for."""


class Answers:
    """What one executor knows of the frames that its master takes."""

    def __init__(self, reporter: Reporter, frame_bytes_max: int) -> None:
        self._reporter = reporter
        self._ours_bytes = self._frame_bytes_max = frame_bytes_max
        self._is_told = False
        """Whether the master has told its limit; until then it is taken to be ours."""
        self._most: float = math.inf
        """Answers that one exchange carries; fewer after the master has refused several at once."""
        self._refused: tuple[int, ...] = ()
        """The delivery whose answer was refused alone, and is sent once more."""

    @property
    def flush_bytes(self) -> int:
        """Bytes of answers after which they are sent at the latest."""
        return min(FLUSH_BYTES, self._frame_bytes_max // 2)

    def greeted(self, greeting: object) -> None:
        """Take the limit of the master that has greeted us; one of a version before does not tell it."""
        told = greeting.get("frame_bytes_max") if isinstance(greeting, Mapping) else None
        self._is_told = type(told) is int
        self._frame_bytes_max = told if isinstance(told, int) else self._ours_bytes

    def fit(self, settled: MutableSequence[Settled], begin: int = 0) -> int:
        """How many answers, from index `begin` on, go into the next exchange; at least one, if there is one.

        An answer that is too large for any frame is replaced where it stands.
        """
        limit_bytes = self._frame_bytes_max - CALL_BYTES
        room_bytes = min(limit_bytes, FLUSH_BYTES)
        if begin == 0:  # nearly always all go; that is found out at a third of the cost
            sizes = [ROW_BYTES + len(row[3] or b"") + CHAR_BYTES_MAX * len(row[5]) for row in settled]
            if len(sizes) <= self._most and sum(sizes) <= room_bytes:
                return len(sizes)
        count = size_bytes = 0
        for index in range(begin, len(settled)):
            row_bytes = _bytes_of(settled[index])
            if row_bytes > limit_bytes and self._is_told:
                settled[index] = row = self._shortened(settled[index], self._too_large(settled[index]))
                row_bytes = _bytes_of(row)
            size_bytes += row_bytes
            if count and (size_bytes > room_bytes or count >= self._most):
                break
            count += 1
        return count

    def arrived(self) -> None:
        """The master has taken an exchange."""
        self._most, self._refused = math.inf, ()

    def refused(self, settled: MutableSequence[Settled], count: int, error: Exception) -> None:
        """The master has refused the first `count` answers: next time it gets half of them.

        One alone becomes a failure that says so, and is dropped if that is refused too: otherwise it would be sent for
        ever, and all others behind it.
        """
        self._most = max(count // 2, 1)
        if count != 1:
            return
        row = settled[0]
        if self._refused == row[:2]:
            self._reporter.send(Trouble(f"The master refused the answer to task {id_text(row[0])}: {error}"))
            del settled[:1]
            return
        self._refused = row[:2]
        if row[2] in WITH_BODIES:
            settled[0] = self._shortened(row, f"was refused by the master: {str(error).rstrip('.')}")

    def _too_large(self, row: Settled) -> str:
        return (
            f"has {len(row[3] or b''):,} bytes, and the master takes {self._frame_bytes_max:,} in one frame: "
            "raise its DISTQ_FRAME_BYTES_MAX"
        )

    def _shortened(self, row: Settled, why: str) -> Settled:
        """What takes the place of an answer that cannot be sent: a failure stays one, all else has failed for good."""
        error = ResultNotSent(why)
        outcome = row[2] if row[2] in FAILURES else Outcome.FATAL
        self._reporter.send(Trouble(f"Task {id_text(row[0])}: {error}"))
        return row[0], row[1], outcome, pack_failure(error), row[4], cause_of(error), *row[6:]


def _bytes_of(row: Sequence[Any]) -> int:
    return ROW_BYTES + len(row[3] or b"") + CHAR_BYTES_MAX * len(row[5])
