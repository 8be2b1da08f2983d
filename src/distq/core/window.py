"""The window: which payloads stay in memory, and how many bytes of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from distq.core.book import Book
    from distq.core.task import Task

WINDOW_BYTES: Final = 64 << 20
"""Payloads of live tasks up to so many bytes are kept in memory, the first in line, so that a lease reads nothing."""


def hold(book: Book, task: Task, body: bytes | None) -> None:
    """Have a task's body in memory, or (None) no more, and count its bytes."""
    if task.body is not None:
        book.window_bytes += len(task.body)
    if body is not None:
        book.window_bytes -= len(body)
    task.body = body
