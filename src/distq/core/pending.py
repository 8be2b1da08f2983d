"""The decisions of the present cycle that are not stored yet: new tasks, changes, and leases to store."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

from distq.core import moves
from distq.core.changes import Change, rows_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from distq.core.changes import Submitted
    from distq.core.ports import Row
    from distq.core.queue import Queue
    from distq.core.savepoint import Savepoint
    from distq.core.task import Task


class PendingChanges:
    """The decisions of the present cycle; a commit stores them all, or the ledger drops them all."""

    __slots__ = ("changes", "claimed", "leases_to_store", "new_count", "submitted", "unread")

    def __init__(self) -> None:
        self.submitted: list[Submitted] = []
        """Tasks submitted in the present cycle."""
        self.new_count = 0
        """Number of these tasks."""
        self.changes: dict[int, Change] = {}
        """Decided changes of tasks that earlier cycles have stored, by task key; always the same dict object."""
        self.leases_to_store: list[Task] = []
        """Leased tasks whose leases the next commit stores."""
        self.claimed: set[tuple[Queue[Task], str]] = set()
        """Unique keys of tasks that are submitted or requeued in the present cycle."""
        self.unread: list[Task] = []
        """Tasks that become dead letters and whose payloads only the store has; the broker reads them before it
        commits."""

    def bury(self, task: Task, error: bytes, cause: str, reason: str) -> Change:
        """The change that makes a task a dead letter; the caller decides it."""
        if task.body is None:
            self.unread.append(task)
        return Change(moves.BURY, task, error, cause=cause, reason=reason)

    def rows(self, now: float, stopped: Iterable[Task]) -> dict[int, Row]:
        """The rows that the store must keep; `stopped` tasks had ended before and their executors have stopped now."""
        return rows_of(self.submitted, self.leases_to_store, self.changes, now, stopped)

    def check_rows(self, since: Savepoint, now: float) -> None:
        """Pack all decisions after `since`; raises the error of the first one that cannot be stored."""
        changes = dict(islice(self.changes.items(), since.changes, None))
        rows_of(self.submitted[since.new :], (), changes, now)

    def undo(self, before: Savepoint) -> list[Change]:
        """Drop all decisions after `before`; returns the dropped changes, the newest first."""
        while len(self.submitted) > before.new:
            envelope, tasks, *_, constraints = self.submitted.pop()
            envelope.queue.reserved -= len(tasks)
            envelope.key_tasks.reserved -= len(tasks)
            self.new_count -= len(tasks)
            self.claimed.discard((envelope.queue, constraints.unique_key))
        dropped: list[Change] = []
        while len(self.changes) > before.changes:
            _, change = self.changes.popitem()
            dropped.append(change)
            if change.event == moves.REQUEUE:
                self.claimed.discard((change.task.envelope.queue, change.task.constraints.unique_key))
        del self.unread[before.unread :]
        return dropped

    def take(self) -> tuple[list[Submitted], list[Change]]:
        """Remove and return all decisions: the new tasks, and the changes of other tasks."""
        submitted, changes = self.submitted[:], list(self.changes.values())
        self.submitted.clear()
        self.changes.clear()
        self.leases_to_store.clear()
        self.claimed.clear()
        self.new_count = 0
        return submitted, changes
