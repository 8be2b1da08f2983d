"""Results on their way to clients: their keys are kept, their bodies only up to a bound; beyond it the store has them.

A client that sleeps, has crashed or has ended without a good-bye leaves its results unfetched for up to an hour. They
cost the master some hundred bytes each, not their size.
"""

from __future__ import annotations

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
"""Maximum undelivered ends of one client; beyond it the oldest are dropped, and the client can ask for them by key."""
ROWS_MAX: Final = 5_000
ROWS_BYTES_MAX: Final = 2 << 20
"""Maximum rows and bytes of one reply with results; a client that does not read its socket holds up that much."""
ROW_BYTES: Final = 256
"""About so many bytes of a reply are a row's without its body; a few with long causes have more."""
IN_STORE: Final = bytes(bytearray(b"in the store"))
"""Stands in a row for the body that only the store has; compared by identity."""


class ResultBacklog:
    """What one client has not confirmed to have received."""

    __slots__ = ("_bodies", "bytes", "rows", "sent")

    def __init__(self, bodies: BodyCache) -> None:
        self.rows: list[TaskEnd] = []
        """What has ended, as it ended: a task changes once more when the time of its result is over."""
        self.sent: list[TaskEnd] = []
        """What the newest reply carried, until the client says that it has it."""
        self.bytes = 0
        """Size of the bodies among both that are in memory."""
        self._bodies = bodies

    def add(self, tasks: Iterable[Task]) -> None:
        """Tasks of the client have ended."""
        rows = [row_of(task, task.body) for task in tasks]
        self.rows += rows
        if len(self.rows) > ROWS_KEPT_MAX:
            over = len(self.rows) - ROWS_KEPT_MAX // 2  # half: each time costs a walk over all
            self._left(self.rows[:over])
            del self.rows[:over]
        self._bodies.grown(self, _bytes_of(rows))

    def send(self, rows: list[TaskEnd], *, read: bool) -> None:
        """The first of `rows` were replied: they stay until the client confirms them.

        What was read for it from the store stays there alone: it can be read again.
        """
        del self.rows[: len(rows)]
        self.sent = [_without_body(row) for row in rows] if read else rows

    def confirm(self) -> None:
        """The client has what was sent, and is there."""
        sent, self.sent = self.sent, []
        self._left(sent)

    def send_again(self) -> None:
        """The reply was lost on its way."""
        self.rows[:0] = self.sent
        self.sent = []

    def spill(self) -> None:
        """Leave all bodies to the store."""
        self.rows = [_without_body(row) for row in self.rows]
        self.sent = [_without_body(row) for row in self.sent]
        self.bytes = 0

    def clear(self) -> None:
        """The client has gone for good."""
        self.rows, self.sent = [], []
        self._bodies.grown(self, -self.bytes)

    def _left(self, rows: list[TaskEnd]) -> None:
        self._bodies.grown(self, -_bytes_of(rows))

    def next_in_memory(self, bytes_max: int) -> list[TaskEnd]:
        """The first rows that fit a reply of that size and need nothing of the store."""
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
        """The first rows, as far as only the store has their bodies, whose heads fit a reply of that size."""
        count, rows_max = 0, _rows_of(bytes_max)
        for row in self.rows:
            if row[2] is not IN_STORE or count >= rows_max:
                break
            count += 1
        return self.rows[:count]


class BodyCache:
    """How many bytes of undelivered bodies are in memory, and which clients have them."""

    __slots__ = ("_with_bodies", "bytes")

    def __init__(self) -> None:
        self.bytes = 0
        self._with_bodies: dict[ResultBacklog, None] = {}
        """Backlogs with bodies, the one whose client has called longest ago first."""

    def grown(self, backlog: ResultBacklog, size_bytes: int) -> None:
        """A backlog has so many bytes more, or fewer; beyond the bound those of absent clients go to the store."""
        if not size_bytes:
            return
        backlog.bytes += size_bytes
        self.bytes += size_bytes
        if backlog.bytes:
            self._with_bodies.setdefault(backlog)
        else:
            self._with_bodies.pop(backlog, None)
        while self.bytes > BODIES_BYTES_MAX:
            oldest = next(iter(self._with_bodies))
            del self._with_bodies[oldest]
            self.bytes -= oldest.bytes
            oldest.spill()

    def called(self, backlog: ResultBacklog) -> None:
        """The client of that backlog is there."""
        if backlog in self._with_bodies:
            del self._with_bodies[backlog]
            self._with_bodies[backlog] = None


def row_of(task: Task, body: bytes | None) -> TaskEnd:
    """What a client is told of the end of a task."""
    return task.task_key, task.state, body, task.causes


def stored_row(task: Task, body: bytes | None) -> TaskEnd:
    """As `row_of`, with the body that the store has."""
    if task.state == DEAD and body is not None:
        dead = unpack_dead(body)
        return task.task_key, task.state, dead.error, dead.causes or None
    return row_of(task, body)


def read_row(tasks: Mapping[int, Task], row: TaskEnd, body: bytes | None) -> TaskEnd:
    """A row with the body that the store has now: the task may have been tried again, or its time may be over."""
    key, state, _, causes = row
    task = tasks.get(key)
    if task is not None and task.state == state:
        return stored_row(task, body)
    return (key, GONE if state == SUCCEEDED else state, None, causes)


def _rows_of(bytes_max: int) -> int:
    return max(min(ROWS_MAX, bytes_max // ROW_BYTES), 1)


def _bytes_of(rows: Iterable[TaskEnd]) -> int:
    """Bytes of the bodies that are in memory."""
    return sum([len(body) for _, _, body, _ in rows if body is not None and body is not IN_STORE])


def _without_body(row: TaskEnd) -> TaskEnd:
    key, state, body, causes = row
    return row if body is None or body is IN_STORE else (key, state, IN_STORE, causes)
