"""The memory guard: a supervisor ends its largest executor before the kernel ends the whole container."""

from collections.abc import Mapping
from typing import Final

from distq.worker.supervisor.cause import OUT_OF_MEMORY, Cause
from distq.worker.supervisor.memory import Memory

GUARD_SHARE: Final = 0.95
VICTIM_SHARE: Final = 0.05
"""Minimum share of the memory limit that an executor uses before the guard may kill it: a smaller one is no cause."""
PAUSE_S: Final = 1.0
"""Seconds for the system to free the memory of a killed executor, before the guard may kill another one."""


class MemoryGuard:
    """Decides which executor the supervisor must kill."""

    def __init__(self) -> None:
        self._not_before = 0.0

    def is_near(self, memory: Memory) -> bool:
        """Whether memory may be about to run out, files that the kernel keeps in it included."""
        used, limit = memory.used_bytes, memory.limit_bytes
        return limit is not None and used is not None and used >= GUARD_SHARE * limit

    def victim(self, memory: Memory, cached_bytes: int, sizes: Mapping[int, int], now: float) -> int | None:
        """The executor (a key of `sizes`, which are bytes) to kill now, None if there is room.

        `cached_bytes` of the used ones are files, which the kernel gives up first.
        """
        used, limit = memory.used_bytes, memory.limit_bytes
        if limit is None or used is None or now < self._not_before or not sizes:
            return None
        if not self.is_near(Memory(used - cached_bytes, limit)):
            return None
        largest = max(sizes, key=lambda pid: sizes[pid])
        if sizes[largest] < VICTIM_SHARE * limit:
            return None
        self._not_before = now + PAUSE_S
        return largest


def out_of_memory_cause(limit_bytes: int) -> Cause:
    """The cause of an end by the guard."""
    return Cause(
        OUT_OF_MEMORY, f"out of memory (guard at {GUARD_SHARE:.0%} of {limit_bytes >> 20} MiB)".replace("%", " %")
    )
