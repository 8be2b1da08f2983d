"""Backlogs of undelivered results: keys stay in memory, bodies only up to a limit; the store has the other bodies.

A client that sleeps, has crashed or has ended without `goodbye()` leaves its results unfetched for up to an hour. Each
of them then costs the master a few hundred bytes, whatever its size.
"""

from __future__ import annotations

from heapq import heapify, heappop, heappush, heapreplace
from typing import TYPE_CHECKING, Final

from distq.core.head import unpack_dead
from distq.core.states import DEAD, GONE, SUCCEEDED
from distq.core.task import Task
from distq.protocol.results import TaskEnd

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

BODIES_BYTES_MAX: Final = 64 << 20
"""Maximum bytes of undelivered results and errors in memory, over all clients."""
ROWS_KEPT_MAX: Final = 1_000_000
"""Maximum undelivered ends of one client, to limit memory; the oldest are dropped, but their keys can be watched."""
ROWS_MAX: Final = 5_000
ROWS_BYTES_MAX: Final = 2 << 20
"""Maximum rows and body bytes of one reply with results; a client that does not read its socket holds one reply."""
ROW_BYTES: Final = 256
"""Approximate bytes of a row in a reply without its body; a row with long causes has more."""
ORDER_SLACK: Final = 64
"""Maximum backlogs in the order of spilling beyond two for each with bodies in memory; others are then dropped."""
IN_STORE: Final = bytes(bytearray(b"in the store"))
"""Replaces in a row a body that only the store has; compared by identity."""


class ResultBacklog:
    """The ends of tasks that one client has not confirmed to have received."""

    __slots__ = ("_bodies", "bytes", "call_number", "is_ordered", "rows", "sent")

    def __init__(self, bodies: BodyCache) -> None:
        self.rows: list[TaskEnd] = []
        """Ends of tasks, as they ended: a task changes once more when the retention of its result is over."""
        self.sent: list[TaskEnd] = []
        """The rows of the newest reply, until the client confirms it."""
        self.bytes = 0
        """Bytes of the bodies in `rows` and `sent` that are in memory."""
        self.call_number = 0
        """Number of the client's newest call, by which the backlogs are spilled."""
        self.is_ordered = False
        """Whether the order of spilling has the backlog."""
        self._bodies = bodies
        self.note_call()

    def note_call(self) -> None:
        """Note a call of the client: its bodies become the last to be spilled."""
        bodies = self._bodies
        bodies.call_count = self.call_number = bodies.call_count + 1

    def add(self, tasks: Iterable[Task]) -> None:
        """Add the ends of the client's tasks."""
        rows = [row_of(task, task.body) for task in tasks]
        self.rows += rows
        if len(self.rows) > ROWS_KEPT_MAX:
            over = len(self.rows) - ROWS_KEPT_MAX // 2  # drop half, since each drop costs a pass over all rows
            self._left(self.rows[:over])
            del self.rows[:over]
        self._bodies.grown(self, _bytes_of(rows))

    def send(self, rows: list[TaskEnd], *, read: bool) -> None:
        """Move the rows of a reply to `sent`, where they stay until the client confirms them.

        Bodies that were read from the store do not stay in memory, since the store can read them again.
        """
        del self.rows[: len(rows)]
        self.sent = [_without_body(row) for row in rows] if read else rows

    def confirm(self) -> None:
        """Drop the rows of the newest reply: the client has received them."""
        sent, self.sent = self.sent, []
        self._left(sent)

    def send_again(self) -> None:
        """Put the rows of a lost reply back, so that they are sent again."""
        self.rows[:0] = self.sent
        self.sent = []

    def spill(self) -> None:
        """Drop all bodies from memory; the store has them."""
        self.rows = [_without_body(row) for row in self.rows]
        self.sent = [_without_body(row) for row in self.sent]
        self.bytes = 0

    def clear(self) -> None:
        """Drop all rows: the client's session has ended."""
        self.rows, self.sent = [], []
        self._bodies.grown(self, -self.bytes)

    def _left(self, rows: list[TaskEnd]) -> None:
        self._bodies.grown(self, -_bytes_of(rows))

    def next_in_memory(self, bytes_max: int) -> list[TaskEnd]:
        """Return the first rows that fit a reply of that size and whose bodies are not only in the store."""
        count = size = 0
        rows_max, bytes_max = _rows_of(bytes_max), min(bytes_max, ROWS_BYTES_MAX)
        for _, _, body, _ in self.rows:
            if body is IN_STORE:
                break
            if body is not None:
                size += len(body)
            if count and (count >= rows_max or size > bytes_max):
                break
            count += 1
        return self.rows[:count]

    def next_in_store(self, bytes_max: int) -> list[TaskEnd]:
        """Return the first rows whose bodies only the store has; their heads fit a reply of that size."""
        count, rows_max = 0, _rows_of(bytes_max)
        for row in self.rows:
            if row[2] is not IN_STORE or count >= rows_max:
                break
            count += 1
        return self.rows[:count]


class BodyCache:
    """Counts the bytes of undelivered bodies in memory, and limits them over all backlogs."""

    __slots__ = ("_backlog_count", "_order", "bytes", "call_count")

    def __init__(self) -> None:
        self.bytes = 0
        self._backlog_count = 0
        """Number of backlogs with bodies in memory."""
        self.call_count = 0
        """Number of the clients' calls, which numbers each call."""
        self._order: list[tuple[int, ResultBacklog]] = []
        """A heap of the backlogs with bodies in memory, and of some others, by a call of their clients.

        A backlog whose client has called since then moves back when it becomes the first, so that a call costs little.
        """

    def grown(self, backlog: ResultBacklog, size_bytes: int) -> None:
        """Add a change of a backlog's bytes.

        Above `BODIES_BYTES_MAX`, the bodies of the clients that called longest ago are spilled to the store.
        """
        if not size_bytes:
            return
        if not backlog.bytes:
            self._backlog_count += 1
            if not backlog.is_ordered:
                self._add_to_order(backlog)
        backlog.bytes += size_bytes
        self.bytes += size_bytes
        if not backlog.bytes:
            self._backlog_count -= 1
        while self.bytes > BODIES_BYTES_MAX:
            self._spill_first()

    def _add_to_order(self, backlog: ResultBacklog) -> None:
        if len(self._order) > 2 * self._backlog_count + ORDER_SLACK:
            for _, other in self._order:
                other.is_ordered = bool(other.bytes)
            self._order = [entry for entry in self._order if entry[1].is_ordered]
            heapify(self._order)
        backlog.is_ordered = True
        heappush(self._order, (backlog.call_number, backlog))

    def _spill_first(self) -> None:
        """Spill the backlog with bodies whose client called longest ago."""
        call_number, backlog = self._order[0]
        if not backlog.bytes:
            heappop(self._order)
            backlog.is_ordered = False
        elif call_number < backlog.call_number:
            heapreplace(self._order, (backlog.call_number, backlog))
        else:
            heappop(self._order)
            backlog.is_ordered = False
            self._backlog_count -= 1
            self.bytes -= backlog.bytes
            backlog.spill()


def row_of(task: Task, body: bytes | None) -> TaskEnd:
    """Return the row that a client receives for the end of a task."""
    return task.task_key, task.state, body, task.causes


def stored_row(task: Task, body: bytes | None) -> TaskEnd:
    """Return the row of a task as `row_of` does, from the body that the store has."""
    if task.state == DEAD and body is not None:
        dead = unpack_dead(body)
        return task.task_key, task.state, dead.error, dead.causes or None
    return row_of(task, body)


def read_row(tasks: Mapping[int, Task], row: TaskEnd, body: bytes | None) -> TaskEnd:
    """Return a row with its stored body, or without it if the task was retried or its retention is over since then."""
    task_key, state, _, causes = row
    task = tasks.get(task_key)
    if task is not None and task.state == state:
        return stored_row(task, body)
    return (task_key, GONE if state == SUCCEEDED else state, None, causes)


def _rows_of(bytes_max: int) -> int:
    return max(min(ROWS_MAX, bytes_max // ROW_BYTES), 1)


def _bytes_of(rows: Iterable[TaskEnd]) -> int:
    """Return the bytes of the rows' bodies that are in memory."""
    return sum([len(body) for _, _, body, _ in rows if body is not None and body is not IN_STORE])


def _without_body(row: TaskEnd) -> TaskEnd:
    task_key, state, body, causes = row
    return row if body is None or body is IN_STORE else (task_key, state, IN_STORE, causes)
