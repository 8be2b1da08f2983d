"""Checkpoints: the saved cursor of each task that can be resumed.

Each cursor is the body of a row of its own in the store, whose negative key is made of the task's key.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from distq.core import moves

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Mapping

    from distq.core.changes import Change
    from distq.core.ports import Row

CURSORS: Final = -(1 << 60)
"""The cursor of a task is stored under the key CURSORS - its key; the keys of schedules are below those of cursors."""
ENDS: Final = (moves.SUCCEED, moves.CANCEL, moves.EXPIRE, moves.DROP)
"""Events after which no attempt follows, so that the cursor is dropped; a dead letter keeps it for a requeue."""


class Checkpoints:
    """The cursors of all tasks."""

    def __init__(self) -> None:
        self.cursors: dict[int, bytes] = {}
        """Stored cursors, by task key."""
        self.decided: dict[int, bytes] = {}
        """Cursors that the present cycle stores, by task key; always the same dict object."""

    def restore(self, keys: Iterable[int], bodies: Mapping[int, bytes], tasks: Container[int]) -> list[int]:
        """Restore the cursors of `tasks` from stored rows; returns the keys of the rows of other tasks."""
        stray: list[int] = []
        for key in keys:
            if CURSORS - key in tasks:
                self.cursors[CURSORS - key] = bodies[key]
            else:
                stray.append(key)
        return stray

    def save(self, task_key: int, cursor: bytes) -> None:
        """Decide that the next attempt of a task continues from `cursor`."""
        self.decided[task_key] = cursor

    def undo(self, count: int) -> None:
        """Drop all decided cursors except the first `count`."""
        while len(self.decided) > count:
            self.decided.popitem()

    def rows(self, changes: Mapping[int, Change]) -> dict[int, Row]:
        """The rows of decided cursors, and the dropped rows of tasks that these changes end for good."""
        rows: dict[int, Row] = {CURSORS - task_key: (b"", cursor) for task_key, cursor in self.decided.items()}
        if self.cursors or rows:
            for task_key, change in changes.items():
                if change.event in ENDS and (task_key in self.cursors or task_key in self.decided):
                    rows[CURSORS - task_key] = None
        return rows

    def apply(self) -> None:
        """Apply the decided cursors; the ends of tasks are applied after them."""
        self.cursors.update(self.decided)
        self.decided.clear()

    def ended(self, task_key: int, event: int) -> None:
        """Forget the cursor of a task that an event ends for good."""
        if event in ENDS:
            self.cursors.pop(task_key, None)
