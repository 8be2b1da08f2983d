"""Waits until one of several sources is readable, and keeps them registered for the next wait."""

from __future__ import annotations

import select
from typing import Final, Protocol


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
            self._poll = poll_of(*sources)
            self._sources = sources
        return dict(self._poll.poll(timeout_s * 1000))


def poll_of(*sources: HasFileno | int) -> select.poll:
    """Return what polls these sources for bytes to read."""
    poll = select.poll()
    for source in sources:
        poll.register(source, select.POLLIN)
    return poll


class ClosedPoll:
    """Polls a closed socket: what reads it then raises. A poll of its old descriptor could wait for another connection.

    The system gives the number of a closed descriptor to the next one that is opened.
    """

    def poll(self, _timeout_ms: float | None = None) -> list[tuple[int, int]]:
        """Return at once, as if there were something to read."""
        return [(-1, select.POLLNVAL)]


CLOSED: Final = ClosedPoll()
