"""The payloads that stay in memory, up to a number of bytes; and how many payloads fit into one message."""

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
        """Bytes of payloads that still fit; the store alone keeps the payloads beyond them."""

    def hold(self, task: Task, body: bytes | None) -> None:
        """Replace the body of `task` in memory; with None the store alone has it."""
        if task.body is not None:
            self.room_bytes += len(task.body)
        if body is not None:
            self.room_bytes -= len(body)
        task.body = body


def how_many_fit(sizes: Sequence[int], bytes_max: int) -> int:
    """How many of these sizes, from the first on, add up to at most `bytes_max`; at least one, if there is one."""
    if sum(sizes) <= bytes_max:  # nearly always, and on the way of every lease
        return len(sizes)
    count = total = 0
    for size in sizes:
        total += size
        if count and total > bytes_max:
            break
        count += 1
    return count
