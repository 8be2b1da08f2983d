"""Submits: the master takes all tasks of a submit or none, and takes a submit once if its client sends it again."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

from distq.core.constraints import NO_CONSTRAINTS
from distq.core.errors import DistqError, PayloadTooLarge, QueueFull, Undecided
from distq.core.plurals import counted
from distq.core.ports import KEEP
from distq.master.cycle.requests import CallRequest
from distq.master.sessions.clients import SESSION, WITH_CONFLICTS, ClientSession
from distq.protocol.submit import (
    REPLACE,
    RETURN,
    SubmitAccepted,
    SubmitEntry,
    SubmitRefused,
    UniqueConflict,
    instants,
    write_answer,
)
from distq.wire.errors import BadCall
from distq.wire.messages import returned

if TYPE_CHECKING:
    from distq.core.ledger import Ledger
    from distq.core.ports import CommitRefused
    from distq.core.queue import Queue
    from distq.core.task import Envelope, Task
    from distq.master.cycle.requests import Cycle
    from distq.net.serve import ServerConnection

ANSWERS_KEPT: Final = 64
"""Maximum answers kept for a client, which may send these submits again; it has fewer submits in flight."""


class SubmitTasks(CallRequest):
    """`submit(number, envelopes, entries, bodies, wait_s)`: the ledger takes the tasks of all entries, or none of them.

    `distq.protocol.submit` declares the fields of an entry. The client receives no result of a task on which a task of
    the same submit depends: only the executor of the dependent task reads the result.

    The reply is a `SubmitAccepted` or a `SubmitRefused`.
    """

    __slots__ = ("before", "bodies", "conflicts", "entries", "first", "number", "session")

    def __init__(
        self,
        connection: ServerConnection,
        session: ClientSession,
        number: int,
        entries: list[SubmitEntry],
        bodies: list[bytes],
    ) -> None:
        super().__init__(connection)
        self.session = session
        self.number = number
        self.entries = entries
        self.bodies = bodies
        self.first: int | None = None
        self.before = 0
        self.conflicts: list[UniqueConflict] = []

    def weight(self) -> tuple[int, int]:  # noqa: D102 - as Request
        return len(self.bodies), sum(map(len, self.bodies))

    def decide(self, cycle: Cycle, now: float) -> bool:  # noqa: D102
        if self.number <= self.session.high:
            return True
        ledger = cycle.ledger
        try:
            others = [self._other(ledger, entry, now) for entry in self.entries]
        except Undecided:
            return False
        full = self._too_full()
        if full is not None:
            queue, needed = full
            if needed > queue.capacity:
                self._count_full(queue)
                raise QueueFull(
                    f"a submit of {counted(needed, 'task')} never fits the queue {queue.name!r}; "
                    f"its limit is {queue.capacity:,}."
                )
            if self.until_at is None or self.until_at <= now:
                self._count_full(queue)
                raise QueueFull(f"the queue {queue.name!r} is full: it holds {counted(queue.capacity, 'task')}.")
            cycle.park_until_room(self, queue, needed)
            return False
        by_queue = () if ledger.defaults.tasks_per_queue_max is None else self._by_queue()
        ledger.check_room(self.entries[0].envelope, len(self.bodies), by_queue)
        limit = ledger.defaults.payload_bytes_max
        largest = max(map(len, self.bodies), default=0)
        if largest > limit:
            raise PayloadTooLarge(f"a payload has {largest} bytes; the limit is {limit}.")
        done = 0
        upstream = {
            index
            for entry in self.entries
            if entry.constraints.depends_on is not None
            for index in entry.constraints.depends_on.keys
        }
        self.conflicts = []
        for entry, other in zip(self.entries, others, strict=True):
            owner = None if done in upstream else self.session
            task_key = self._submit(ledger, entry, other, done, owner, now)
            self.first = task_key if self.first is None else self.first
            done += entry.size
        self._note(cycle)
        return True

    def _by_queue(self) -> list[tuple[Envelope, int]]:
        """Return an envelope and the number of the tasks for each queue."""
        counts: dict[str, tuple[Envelope, int]] = {}
        for entry in self.entries:
            envelope, count = counts.get(entry.envelope.queue.name, (entry.envelope, 0))
            counts[envelope.queue.name] = (envelope, count + entry.size)
        return list(counts.values())

    def _count_full(self, queue: Queue[Task]) -> None:
        """Count that the submit is refused because this queue is full."""
        envelope = next(entry.envelope for entry in self.entries if entry.envelope.queue is queue)
        envelope.counters.count(envelope.counters.rejected, "full")

    def _other(self, ledger: Ledger, entry: SubmitEntry, now: float) -> Task | None:
        """The task that has the unique key of an entry; raises Undecided."""
        unique = entry.constraints.unique_key
        return ledger.holder_of_unique(entry.envelope.queue, unique, now) if unique else None

    def _submit(
        self, ledger: Ledger, entry: SubmitEntry, other: Task | None, done: int, owner: ClientSession | None, now: float
    ) -> int:
        """Note the tasks of one entry, and return the key of the first."""
        envelope, size, when, constraints, conflict = entry
        if other is not None:
            if conflict != REPLACE:
                self.conflicts.append((done, other.task_key, conflict == RETURN))
                envelope.counters.count(envelope.counters.rejected, "unique")
                return ledger.skip_key()
            ledger.cancel(other.task_key, "replaced by a newer submit")
        bodies = self.bodies[done : done + size]
        due_at, expires_at = (0.0, None) if when is None else instants(when, now)
        if constraints.depends_on is not None:
            constraints = constraints._replace(
                depends_on=constraints.depends_on._replace(first=constraints.depends_on.first + (self.first or 0))
            )
        if due_at or expires_at is not None or constraints is not NO_CONSTRAINTS:
            return ledger.submit(
                envelope, bodies, owner, now, due_at=due_at, expires_at=expires_at, constraints=constraints
            )
        return ledger.submit(envelope, bodies, owner, now)

    def _note(self, cycle: Cycle) -> None:
        """Have the store keep the number of this submit, and its answer."""
        session = self.session
        conflicts_body = json.dumps(self.conflicts).encode() if self.conflicts else b""
        flag = WITH_CONFLICTS if conflicts_body else 0
        row = SESSION.pack(self.number | flag, self.first or 0) + session.key.encode()
        cycle.keep_row(session.row_key, (row, conflicts_body if conflicts_body or not session.stored else KEEP))
        self.before, session.high = session.high, self.number

    def _too_full(self) -> tuple[Queue[Task], int] | None:
        """The first queue without room for its tasks of this submit, and the number of these tasks; None if all fit."""
        if len(self.entries) == 1:
            envelope, count = self.entries[0][:2]
            return (envelope.queue, count) if envelope.queue.room < count else None
        needed: dict[Queue[Task], int] = {}
        for envelope, count, *_ in self.entries:
            needed[envelope.queue] = needed.get(envelope.queue, 0) + count
        return next(((queue, count) for queue, count in needed.items() if queue.room < count), None)

    def answer(self, cycle: Cycle, now: float) -> None:  # noqa: ARG002, D102 - as Request
        answers = self.session.answers
        if self.first is not None:
            # A session that ended by `goodbye` in this cycle, over another connection, keeps no row.
            self.session.stored = not self.session.ended
            if self.session.ended:
                cycle.keep_row(self.session.row_key, None)
            answers[self.number] = write_answer(SubmitAccepted(self.first, self.conflicts))
            if len(answers) > ANSWERS_KEPT:
                answers.popitem(last=False)
        known = answers.get(self.number)
        if known is None:
            sentence = f"the master has dropped its answer to submit {self.number}: it keeps the last {ANSWERS_KEPT}."
            known = write_answer(SubmitRefused(BadCall.code, sentence))
        self.connection.reply(returned(known))

    def expire(self, cycle: Cycle, now: float) -> None:  # noqa: D102
        if self.number <= self.session.high:
            self.answer(cycle, now)  # the master took the same submit, sent again over another connection, meanwhile
        else:
            if (full := self._too_full()) is not None:
                self._count_full(full[0])
            self.refuse(QueueFull("the queue was full until the wait that the submit requested was over."))

    def undo(self) -> None:  # noqa: D102
        if self.session.high == self.number and self.first is not None:
            self.session.high = self.before
        self.first = None

    def put_back(self, cycle: Cycle, exc: CommitRefused, now: float) -> None:  # noqa: D102
        if self.first is not None:
            self.session.high = min(self.session.high, self.before)
            self.first = None
            self.refuse(exc)
        elif self.number <= self.session.high:
            self.answer(cycle, now)
        else:
            self.refuse(exc)  # the client sent this submit twice, and the store refused the first one just now

    def refuse(self, exc: DistqError) -> None:  # noqa: D102
        refusal = SubmitRefused(exc.code, f"{exc} {exc.hint}".rstrip())
        self.connection.reply(returned(write_answer(refusal)))
