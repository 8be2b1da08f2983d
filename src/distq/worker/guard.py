"""The memory guard: a supervisor ends its largest executor before the kernel ends the whole container."""

from collections.abc import Mapping
from typing import Final

from distq.worker.cause import OUT_OF_MEMORY, Cause
from distq.worker.memory import Memory

GUARD_S: Final = 0.25
"""How often it looks."""
GUARD_SHARE: Final = 0.95
WORTH_SHARE: Final = 0.05
"""An executor with less of the limit than this is left alone: it is not who needs the memory."""
PAUSE_S: Final = 1.0
"""How long memory may take to come back after an executor was killed."""


class Guard:
    """Decides who must go."""

    def __init__(self) -> None:
        self._not_before = 0.0

    def victim(self, memory: Memory, sizes: Mapping[int, int], now: float) -> int | None:
        """The executor (a key of `sizes`, which are bytes) to kill now, None if there is room."""
        needed, limit = memory.needed_bytes, memory.limit_bytes
        if limit is None or needed is None or needed < GUARD_SHARE * limit or now < self._not_before or not sizes:
            return None
        largest = max(sizes, key=lambda pid: sizes[pid])
        if sizes[largest] < WORTH_SHARE * limit:
            return None
        self._not_before = now + PAUSE_S
        return largest


def guarded(limit_bytes: int) -> Cause:
    """The cause of an end by the guard."""
    return Cause(
        OUT_OF_MEMORY, f"out of memory (guard at {GUARD_SHARE:.0%} of {limit_bytes >> 20} MiB)".replace("%", " %")
    )
