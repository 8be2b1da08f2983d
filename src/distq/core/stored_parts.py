"""What some tasks have besides a body: the cursor of one that can be resumed, the parts of one that streams.

Each is a row of its own in the store, under a negative key that is made of the task's. They are decided, committed and
applied with everything else; heads name what a row belongs to, bodies are opaque.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Final, NamedTuple

from distq.core import moves

if TYPE_CHECKING:
    from distq.core.changes import Change, Row

CURSORS: Final = -(1 << 60)
"""Rows of cursors lie below, down to those of schedules: the cursor of a task is at CURSORS - its key, ..."""
PARTS: Final = -(1 << 59)
"""... and those of parts below this, in the order in which they came; sessions lie above."""
PARTS_MAX: Final = 10_000
"""So many parts one task may stream."""
_PART: Final = struct.Struct("!QII")
"""Head of a part: its task's key, its number from 0, how many bytes it has."""
ENDS: Final = (moves.SUCCEED, moves.CANCEL, moves.EXPIRE, moves.DROP)
"""What ends a task for good: nothing of it is resumed after that. A dead letter may be tried again."""


class StoredPart(NamedTuple):
    """Where the store has a part, and how many bytes it has."""

    row: int
    size_bytes: int


class Part(NamedTuple):
    """One part of a stream, decided and not yet applied."""

    task: int
    number: int
    row: int
    body: bytes


class StoredParts:
    """The cursors and parts of all tasks."""

    def __init__(self) -> None:
        self.cursors: dict[int, bytes] = {}
        """By task."""
        self.streams: dict[int, dict[int, StoredPart]] = {}
        """By task: its parts, by their numbers."""
        self.grown_streams: dict[int, None] = {}
        """Tasks whose streams have grown, or ended, since somebody looked."""
        self.watched_streams: set[int] = set()
        """Tasks for whose parts somebody waits: of their ends that one must hear, though they may have no part yet."""
        self._new_cursors: dict[int, bytes] = {}
        self._new_parts: dict[tuple[int, int], Part] = {}
        self._next_part = PARTS - 1

    @property
    def changed(self) -> bool:
        """Whether anything was decided."""
        return bool(self._new_cursors or self._new_parts)

    @property
    def in_use(self) -> bool:
        """Whether an end of a task may matter here."""
        return bool(self.cursors or self.streams or self.watched_streams)

    def restore(self, rows: Mapping[int, bytes], bodies: Mapping[int, bytes], alive: Iterable[int]) -> list[int]:
        """Know again what a store had; returns the rows of tasks that are not there any more."""
        here, stray = set(alive), []
        for key, head in rows.items():
            if key <= CURSORS:
                task = CURSORS - key
                if task in here:
                    self.cursors[task] = bodies[key]
            else:
                task, number, size_bytes = _PART.unpack(head)
                self._next_part = min(self._next_part, key - 1)
                if task in here:
                    self.streams.setdefault(task, {})[number] = StoredPart(key, size_bytes)
            if task not in here:
                stray.append(key)
        return stray

    # -- decide --------------------------------------------------------------------------------

    def save(self, task: int, cursor: bytes) -> None:
        """Note how far a task has come, so that the next attempt goes on there."""
        self._new_cursors[task] = cursor

    def add(self, task: int, number: int, body: bytes) -> bool:
        """Note a part; one of that number that is there already stays. False: the task has too many."""
        known = self.streams.get(task, {})
        if number in known or (task, number) in self._new_parts:
            return True
        if number >= PARTS_MAX:
            return False
        self._new_parts[task, number] = Part(task, number, self._next_part, body)
        self._next_part -= 1
        return True

    @property
    def decided(self) -> tuple[int, int]:
        """How many cursors and parts the present cycle has decided."""
        return len(self._new_cursors), len(self._new_parts)

    def undo(self, cursors: int, parts: int) -> None:
        """Drop what was decided after there were so many."""
        while len(self._new_cursors) > cursors:
            self._new_cursors.popitem()
        while len(self._new_parts) > parts:
            self._new_parts.popitem()

    # -- commit and apply ----------------------------------------------------------------------

    def rows(self, changes: Mapping[int, Change]) -> dict[int, Row]:
        """What the store must keep of what was decided, and let go of with these changes."""
        rows: dict[int, Row] = {CURSORS - task: (b"", cursor) for task, cursor in self._new_cursors.items()}
        for part in self._new_parts.values():
            rows[part.row] = (_PART.pack(part.task, part.number, len(part.body)), part.body)
        if self.cursors or self.streams or rows:
            for task, change in changes.items():
                if change.event in ENDS and (task in self.cursors or task in self._new_cursors):
                    rows[CURSORS - task] = None
                if change.event == moves.DROP:
                    for kept in self.streams.get(task, {}).values():
                        rows[kept.row] = None
        return rows

    def apply(self) -> None:
        """Let it happen; the ends of tasks come after that."""
        self.cursors.update(self._new_cursors)
        for part in self._new_parts.values():
            self.streams.setdefault(part.task, {})[part.number] = StoredPart(part.row, len(part.body))
            if part.task in self.watched_streams:
                self.grown_streams[part.task] = None
        self.forget()

    def forget(self) -> None:
        """Drop what was decided."""
        self._new_cursors.clear()
        self._new_parts.clear()

    def ended(self, task: int, event: int) -> None:
        """A task has ended, or gone."""
        if event in ENDS:
            self.cursors.pop(task, None)
        if task in self.watched_streams:
            self.grown_streams[task] = None
        if event == moves.DROP:
            self.streams.pop(task, None)

    def weight(self, task: int) -> int:
        """How many rows go with a task."""
        return len(self.streams.get(task, ()))


def part_number(told: bytes) -> tuple[int, bytes]:
    """The number and the body of a part as an executor tells it; raises ValueError."""
    if len(told) < NUMBER.size:
        raise ValueError("a part has a number")
    return NUMBER.unpack_from(told)[0], told[NUMBER.size :]


NUMBER: Final = struct.Struct("!I")
"""What an executor puts before a part."""
