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
    from collections.abc import Callable, Iterable, Mapping

BODIES_BYTES_MAX: Final = 64 << 20
"""Maximum bytes of undelivered results and errors in memory, over all clients."""
ROWS_KEPT_MAX: Final = 1_000_000
"""Maximum undelivered ends of one client, to limit memory; the oldest are dropped, but their keys can be watched."""
ROWS_KEPT_IN_ALL_MAX: Final = 2 * ROWS_KEPT_MAX
"""Maximum undelivered ends of all clients, of about 150 bytes each; those of the client that called longest ago go."""
ROWS_MAX: Final = 5_000
ROWS_BYTES_MAX: Final = 2 << 20
"""Maximum rows and body bytes of one reply with results; a client that does not read its socket holds one reply."""
ROW_BYTES: Final = 256
"""Approximate bytes of a row in a reply without its body; a row with long causes has more."""
ORDER_SLACK: Final = 64
"""Maximum backlogs in an order beyond two for each that holds something; others are then dropped."""
IN_STORE: Final = bytes(bytearray(b"in the store"))
"""Replaces in a row a body that only the store has; compared by identity."""


class ResultBacklog:
    """The ends of tasks that one client has not confirmed to have received."""

    __slots__ = ("_bodies", "bytes", "call_number", "drops", "has_news_of_drops", "rows", "sent")

    def __init__(self, bodies: BodyCache) -> None:
        self.rows: list[TaskEnd] = []
        """Ends of tasks, as they ended: a task changes once more when the retention of its result is over."""
        self.sent: list[TaskEnd] = []
        """The rows of the newest reply, until the client confirms it."""
        self.bytes = 0
        """Bytes of the bodies in `rows` and `sent` that are in memory."""
        self.drops = 0
        """How many times ends were dropped because there were too many."""
        self.has_news_of_drops = False
        """Whether ends were dropped since the master last closed a connection of the client for that reason."""
        self.call_number = 0
        """Number of the client's newest call, by which the backlogs are spilled."""
        self._bodies = bodies
        self.note_call()

    @property
    def row_count(self) -> int:
        """Number of the ends that it keeps."""
        return len(self.rows) + len(self.sent)

    def note_call(self) -> None:
        """Note a call of the client: its bodies become the last to be spilled."""
        bodies = self._bodies
        bodies.call_count = self.call_number = bodies.call_count + 1

    def add(self, tasks: Iterable[Task]) -> None:
        """Add the ends of the client's tasks."""
        rows = [row_of(task, task.body) for task in tasks]
        self.rows += rows
        self._bodies.grown(self, _bytes_of(rows), len(rows))
        if len(self.rows) > ROWS_KEPT_MAX:
            over = len(self.rows) - ROWS_KEPT_MAX // 2  # drop half, since each drop costs a pass over all rows
            dropped = self.rows[:over]
            del self.rows[:over]
            self._left(dropped)
            self._note_drop(over)

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
        count = self.row_count
        self.rows, self.sent = [], []
        self._bodies.grown(self, -self.bytes, -count)

    def drop(self) -> None:
        """Drop all rows: there are too many."""
        count = self.row_count
        self.clear()
        self._note_drop(count)

    def _note_drop(self, count: int) -> None:
        self._bodies.dropped_count += count
        self.drops += 1
        self.has_news_of_drops = True

    def _left(self, rows: list[TaskEnd]) -> None:
        self._bodies.grown(self, -_bytes_of(rows), -len(rows))

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


class CallOrder:
    """A heap of the backlogs that hold something, and of some others, by a call of their clients.

    A backlog whose client has called since then moves back when it becomes the first, so that a call costs little.
    """

    __slots__ = ("_count", "_heap", "_members", "_size_of")

    def __init__(self, size_of: Callable[[ResultBacklog], int]) -> None:
        self._size_of = size_of
        self._count = 0
        """Number of backlogs that hold something."""
        self._heap: list[tuple[int, int, ResultBacklog]] = []
        self._members: set[ResultBacklog] = set()
        """The backlogs in the heap."""

    def __len__(self) -> int:
        return len(self._heap)

    def changed(self, backlog: ResultBacklog, size: int, by: int) -> None:
        """Note that a backlog holds `size` now, which is more or less by `by`; that is not 0."""
        if not size:
            self._count -= 1
        elif size == by:
            self._count += 1
            if backlog not in self._members:
                self._add(backlog)

    def _add(self, backlog: ResultBacklog) -> None:
        if len(self._heap) > 2 * self._count + ORDER_SLACK:
            self._heap = [entry for entry in self._heap if self._size_of(entry[-1])]
            self._members = {entry[-1] for entry in self._heap}
            heapify(self._heap)
        self._members.add(backlog)
        heappush(self._heap, _entry(backlog))

    def first(self) -> ResultBacklog:
        """Return the backlog that holds something whose client called longest ago; there must be one."""
        while True:
            call_number, _, backlog = self._heap[0]
            if not self._size_of(backlog):
                heappop(self._heap)
                self._members.discard(backlog)
            elif call_number < backlog.call_number:
                heapreplace(self._heap, _entry(backlog))
            else:
                return backlog


def _entry(backlog: ResultBacklog) -> tuple[int, int, ResultBacklog]:
    """Return the entry of a backlog in a heap; two backlogs are never compared."""
    return backlog.call_number, id(backlog), backlog


class BodyCache:
    """Counts undelivered ends and the bytes of their bodies in memory, and limits both over all backlogs."""

    __slots__ = ("_by_bytes", "_by_rows", "bytes", "call_count", "dropped_count", "row_count")

    def __init__(self) -> None:
        self.bytes = 0
        self.row_count = 0
        """Number of undelivered ends."""
        self.dropped_count = 0
        """Number of undelivered ends that were dropped because there were too many."""
        self.call_count = 0
        """Number of the clients' calls, which numbers each call."""
        self._by_bytes = CallOrder(lambda backlog: backlog.bytes)
        self._by_rows = CallOrder(lambda backlog: backlog.row_count)

    def grown(self, backlog: ResultBacklog, size_bytes: int, rows: int) -> None:
        """Add a change of a backlog's bytes and rows; the backlog has these rows already, or has them no more.

        Above `BODIES_BYTES_MAX`, the bodies of the clients that called longest ago are spilled to the store. Above
        `ROWS_KEPT_IN_ALL_MAX`, the rows of these clients are dropped.
        """
        if size_bytes:
            backlog.bytes += size_bytes
            self.bytes += size_bytes
            self._by_bytes.changed(backlog, backlog.bytes, size_bytes)
            while self.bytes > BODIES_BYTES_MAX:
                self._spill_first()
        if rows:
            self.row_count += rows
            self._by_rows.changed(backlog, backlog.row_count, rows)
            while self.row_count > ROWS_KEPT_IN_ALL_MAX:
                self._by_rows.first().drop()

    def _spill_first(self) -> None:
        backlog = self._by_bytes.first()
        size_bytes = backlog.bytes
        self.bytes -= size_bytes
        backlog.spill()
        self._by_bytes.changed(backlog, backlog.bytes, -size_bytes)


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
