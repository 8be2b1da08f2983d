"""The cache of payloads in memory, limited in bytes, and the number of payloads that fit into one message."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

    from distq.core.task import Task

CACHE_BYTES: Final = 64 << 20
"""Maximum bytes of the payloads of live tasks that stay in memory, so that most leases read nothing from the store."""


class PayloadCache:
    """Counts the bytes of the task bodies that are in memory."""

    __slots__ = ("room_bytes",)

    def __init__(self) -> None:
        self.room_bytes = CACHE_BYTES
        """Bytes of payloads that still fit; further payloads are only in the store."""

    def hold(self, task: Task, body: bytes | None) -> None:
        """Replace the body of `task` in memory; with None the body is only in the store."""
        if task.body is not None:
            self.room_bytes += len(task.body)
        if body is not None:
            self.room_bytes -= len(body)
        task.body = body


def how_many_fit(sizes: Sequence[int], bytes_max: int) -> int:
    """Number of sizes, from the first on, that add up to at most `bytes_max`; at least 1 if there is a size."""
    if sum(sizes) <= bytes_max:  # the usual case, checked first because every lease calls this
        return len(sizes)
    count = total = 0
    for size in sizes:
        total += size
        if count and total > bytes_max:
            break
        count += 1
    return count
