"""Replies with the parts of a task's stream, as they arrive, until the task's result is deleted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from distq.core.ranges import is_duration
from distq.core.states import LIVE_STATES
from distq.core.task_ids import id_text
from distq.master.cycle.requests import WAIT_MAX_S, CallRequest
from distq.wire.errors import BadCall, NoSuchTask
from distq.wire.messages import returned

if TYPE_CHECKING:
    from distq.master.cycle.requests import Cycle
    from distq.net.serve import ServerConnection

PARTS_PER_REPLY: Final = 100
PARTS_BYTES_MAX: Final = 8 << 20
"""Maximum bytes of parts in one reply; a single larger part still fits a frame."""


class Streams:
    """The requests that wait for parts."""

    def __init__(self, cycle: Cycle) -> None:
        self._cycle = cycle
        self.waiting: dict[int, dict[ReadParts, None]] = {}
        """Waiting requests by task key."""

    def push(self) -> None:
        """Have the next cycle answer the requests whose streams have grown or ended."""
        parts = self._cycle.ledger.state.stream_parts
        if parts.grown:
            grown, parts.grown = parts.grown, {}
            for task_key in grown:
                for request in list(self.waiting.get(task_key, ())):
                    request.leave(self._cycle)
                    self._cycle.forget(request)
                    self._cycle.ask(request)


class ReadParts(CallRequest):
    """`stream(key, from, wait_s)`: parts of a task's stream from number `from` on; the request waits for the first one.

    The reply is (parts, whether the stream has ended).
    """

    __slots__ = ("first", "streams", "task_key", "wait_s")

    def __init__(
        self, connection: ServerConnection, streams: Streams, task_key: int, first: int, wait_s: float
    ) -> None:
        super().__init__(connection)
        self.streams = streams
        self.task_key = task_key
        self.first = first
        self.wait_s = wait_s

    def answer(self, cycle: Cycle, now: float) -> None:  # noqa: D102 - as Request
        task = cycle.ledger.state.tasks.get(self.task_key)
        if task is None:
            self.refuse(NoSuchTask(f"the master does not know task {id_text(self.task_key)} (any more)."))
            return
        known = cycle.ledger.state.stream_parts.by_task.get(self.task_key, {})
        rows: list[int] = []
        room_bytes = min(PARTS_BYTES_MAX, cycle.reply_bytes_max)
        while len(rows) < PARTS_PER_REPLY and (kept := known.get(self.first + len(rows))) is not None:
            room_bytes -= kept.size_bytes
            if rows and room_bytes < 0:
                break
            rows.append(kept.row)
        ended = task.state not in LIVE_STATES and self.first + len(rows) not in known
        if rows or ended:
            cycle.read(self, rows, lambda bodies: self.connection.reply(returned((bodies, ended))))
            return
        if self.until_at is None:
            self.until_at = now + self.wait_s
        if self.until_at <= now or not self.connection.open:
            self.connection.reply(returned(([], False)))
            return
        cycle.ledger.state.stream_parts.watched.add(self.task_key)
        self.streams.waiting.setdefault(self.task_key, {})[self] = None
        cycle.park_idle(self)

    def leave(self, cycle: Cycle) -> None:
        """Remove the request from the waiting ones."""
        waiting = self.streams.waiting
        waiting[self.task_key].pop(self, None)
        if not waiting[self.task_key]:
            del waiting[self.task_key]
            cycle.ledger.state.stream_parts.watched.discard(self.task_key)

    def expire(self, cycle: Cycle, now: float) -> None:  # noqa: ARG002, D102
        self.leave(cycle)
        self.connection.reply(returned(([], False)))


def read_stream(connection: ServerConnection, streams: Streams, args: tuple[Any, ...]) -> ReadParts:
    """The request of `stream(key, from, wait_s)`; raises BadCall."""
    task_key, first, wait_s = args if len(args) == 3 else (None, None, None)
    if type(task_key) is not int or type(first) is not int or first < 0 or not is_duration(wait_s):
        raise BadCall("stream(key, from, wait_s) takes a task's key, a number from 0, and seconds.")
    return ReadParts(connection, streams, task_key, first, min(float(wait_s), WAIT_MAX_S))  # type: ignore[arg-type] # a duration
