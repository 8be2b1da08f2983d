"""The window: which payloads stay in memory, and how many bytes of them; how many go together."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

    from distq.core.state import LedgerState
    from distq.core.task import Task

WINDOW_BYTES: Final = 64 << 20
"""Payloads of live tasks up to so many bytes are kept in memory, the first in line, so that a lease reads nothing."""


def hold(book: LedgerState, task: Task, body: bytes | None) -> None:
    """Have a task's body in memory, or (None) no more, and count its bytes."""
    if task.body is not None:
        book.cache_room_bytes += len(task.body)
    if body is not None:
        book.cache_room_bytes -= len(body)
    task.body = body


def how_many_fit(sizes: Sequence[int], bytes_max: int) -> int:
    """How many of these sizes, from the first on, are together at most so many bytes; one at least, if there is one."""
    if sum(sizes) <= bytes_max:  # nearly always: it is on the way of every lease
        return len(sizes)
    count = total = 0
    for size in sizes:
        total += size
        if count and total > bytes_max:
            break
        count += 1
    return count
