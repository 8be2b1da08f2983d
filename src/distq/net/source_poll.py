"""Waits until one of several sources is readable, and keeps them registered for the next wait."""

from __future__ import annotations

import select
from typing import Protocol


class HasFileno(Protocol):
    """A socket, or anything else that has a file descriptor."""

    def fileno(self) -> int:
        """Return the file descriptor."""
        ...


class SourcePoll:
    """The sources of the last wait: an executor waits for the same ones before each batch."""

    __slots__ = ("_poll", "_sources")

    def __init__(self) -> None:
        self._sources: tuple[HasFileno | int, ...] = ()
        self._poll = select.poll()

    def readable(self, sources: tuple[HasFileno | int, ...], timeout_s: float) -> dict[int, int]:
        """Wait up to `timeout_s`; returns the events of the sources that are readable, by file descriptor."""
        if sources != self._sources:
            self._poll = select.poll()
            for source in sources:
                self._poll.register(source, select.POLLIN)
            self._sources = sources
        return dict(self._poll.poll(timeout_s * 1000))
