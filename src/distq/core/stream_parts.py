"""The parts of tasks that stream their results.

Each part is a row of its own in the store, under a negative key: its head names the task, its body is opaque.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final, NamedTuple

from distq.core import moves

if TYPE_CHECKING:
    from collections.abc import Container, Mapping

    from distq.core.changes import Change
    from distq.core.ports import Row

PARTS: Final = -(1 << 59)
"""The keys of parts are below this number, each new key lower than the one before; keys of sessions are above it."""
PARTS_MAX: Final = 10_000
"""Maximum parts that one task may stream, because the master keeps an entry for each part in memory."""
PART_NUMBER: Final = struct.Struct("!I")
"""The number that an executor puts before a part's body."""
_HEAD: Final = struct.Struct("!QII")
"""Head of a part: its task's key, its number from 0, the bytes of its body."""


class StoredPart(NamedTuple):
    """The key of a part in the store, and the bytes of its body."""

    row: int
    size_bytes: int


class NewPart(NamedTuple):
    """One part that the present cycle stores."""

    task_key: int
    number: int
    row: int
    body: bytes


class StreamParts:
    """The parts of all tasks."""

    def __init__(self) -> None:
        self.by_task: dict[int, dict[int, StoredPart]] = {}
        """Stored parts by task key and part number."""
        self.grown: dict[int, None] = {}
        """Keys of watched tasks whose streams have grown or ended since the streams' readers were last answered."""
        self.watched: set[int] = set()
        """Keys of tasks for whose parts a request waits."""
        self.decided: dict[tuple[int, int], NewPart] = {}
        self._next_row = PARTS - 1

    def restore(self, heads: Mapping[int, bytes], tasks: Container[int]) -> list[int]:
        """Restore the parts of `tasks` from stored heads; returns the keys of the rows of other tasks."""
        stray: list[int] = []
        for key, head in heads.items():
            task_key, number, size_bytes = read_part_head(head)
            self._next_row = min(self._next_row, key - 1)
            if task_key in tasks:
                self.by_task.setdefault(task_key, {})[number] = StoredPart(key, size_bytes)
            else:
                stray.append(key)
        return stray

    def add(self, task_key: int, number: int, body: bytes) -> bool:
        """Decide to store a part, unless one of that number is known; False if the number is above the limit."""
        if number in self.by_task.get(task_key, {}) or (task_key, number) in self.decided:
            return True
        if number >= PARTS_MAX:
            return False
        self.decided[task_key, number] = NewPart(task_key, number, self._next_row, body)
        self._next_row -= 1
        return True

    def undo(self, count: int) -> None:
        """Drop all decided parts except the first `count`."""
        while len(self.decided) > count:
            self.decided.popitem()

    def rows(self, changes: Mapping[int, Change]) -> dict[int, Row]:
        """The rows of decided parts, and the dropped rows of tasks that these changes drop."""
        rows: dict[int, Row] = {
            part.row: (_HEAD.pack(part.task_key, part.number, len(part.body)), part.body)
            for part in self.decided.values()
        }
        if self.by_task:
            for task_key, change in changes.items():
                if change.event == moves.DROP:
                    for part in self.by_task.get(task_key, {}).values():
                        rows[part.row] = None
        return rows

    def apply(self) -> None:
        """Apply the decided parts; the ends of tasks are applied after them."""
        for part in self.decided.values():
            self.by_task.setdefault(part.task_key, {})[part.number] = StoredPart(part.row, len(part.body))
            if part.task_key in self.watched:
                self.grown[part.task_key] = None
        self.decided.clear()

    def ended(self, task_key: int, event: int) -> None:
        """Note that a task has ended, and forget the parts of one that is dropped."""
        if task_key in self.watched:
            self.grown[task_key] = None
        if event == moves.DROP:
            self.by_task.pop(task_key, None)

    def row_count(self, task_key: int) -> int:
        """Number of stored parts that are dropped with a task."""
        return len(self.by_task.get(task_key, ()))


def read_part_head(head: bytes) -> tuple[int, int, int]:
    """Read the stored head of a part: its task, its number, and its size in bytes."""
    task_key, number, size_bytes = _HEAD.unpack(head)
    return task_key, number, size_bytes


def part_number(content: bytes) -> tuple[int, bytes]:
    """The number and the body of a part as an executor sends it; raises ValueError."""
    if len(content) < PART_NUMBER.size:
        raise ValueError(f"a part has a number of {PART_NUMBER.size} bytes before its body, not {len(content)} bytes")
    return PART_NUMBER.unpack_from(content)[0], content[PART_NUMBER.size :]
