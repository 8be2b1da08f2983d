"""Submits: whole or not at all, and once however often they are sent."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from distq.core.errors import DistqError, PayloadTooLarge, QueueFull, Undecided
from distq.core.ports import KEEP
from distq.core.queue import RESULT
from distq.core.ranges import headers, instant, is_duration, labels, seconds, shown, text, whole
from distq.core.task import (
    FAILURE_POLICIES,
    KEY_BYTES_MAX,
    NO_CONSTRAINTS,
    PRIORITY_DEFAULT,
    TASK,
    DependsOn,
    Envelope,
    TaskConstraints,
)
from distq.master.cycle.requests import WAIT_MAX_S, CallRequest
from distq.master.sessions.clients import SESSION, WITH_TAKEN, ClientSession, Taken
from distq.tasks.options import CONFLICTS, REJECT, REPLACE, RETURN
from distq.wire.errors import BadCall
from distq.wire.messages import returned

if TYPE_CHECKING:
    from distq.core.ledger import Ledger
    from distq.core.ports import CommitRefused
    from distq.core.queue import Queue
    from distq.core.registry import Registry
    from distq.core.task import Task
    from distq.master.cycle.broker import Broker
    from distq.net.serve import ServerConnection

ANSWERS_KEPT: Final = 64
"""How many of its last submits a client may send again; it has fewer under way."""
NUMBER_MAX: Final = (1 << 62) - 1
"""The largest number of a submit: a session's row has 62 bits for it."""

When = tuple["float | None", "float | None", "float | None"]
"""Delay, the moment (seconds since 1970) before which a task is not begun, and after how long it expires; seconds."""


class SubmitRun(NamedTuple):
    """So many tasks that are alike but for their arguments."""

    envelope: Envelope
    size: int
    when: When | None
    constraints: TaskConstraints
    conflict: str


class SubmitTasks(CallRequest):
    """`submit(number, envelopes, runs, bodies, wait_s)`: so many tasks of each envelope, all or none.

    A run is (envelope, how many[, when[, more]]): `when` is (delay_s, eta, expires_s), `more` (concurrency key, how
    many at once, unique key, for how many seconds, what to do if another has it[, after]), None for what is not asked.
    `after` is (index of the first task of this submit that comes before, how many do, what is done if one of them
    fails, whether the one result is no list). Of tasks that come before others nobody but these is told the end.

    The reply is `(True, key of the first)`, the others follow it without gaps, or `(False, code, sentence)`. Where
    unique keys were taken already a third part says so: rows of (index, key of who has it, whether that is an answer).
    """

    __slots__ = ("before", "bodies", "first", "number", "runs", "session", "taken")

    def __init__(
        self,
        connection: ServerConnection,
        session: ClientSession,
        number: int,
        runs: list[SubmitRun],
        bodies: list[bytes],
    ) -> None:
        super().__init__(connection)
        self.session = session
        self.number = number
        self.runs = runs
        self.bodies = bodies
        self.first: int | None = None
        self.before = 0
        self.taken: list[Taken] = []

    def weight(self) -> tuple[int, int]:  # noqa: D102 - as Request
        return len(self.bodies), sum(map(len, self.bodies))

    def decide(self, broker: Broker, now: float) -> bool:  # noqa: D102
        if self.number <= self.session.high:
            return True
        ledger = broker.ledger
        try:
            others = [self._other(ledger, run, now) for run in self.runs]
        except Undecided:
            return False
        full = self._too_full()
        if full is not None:
            queue, needed = full
            if needed > queue.capacity:
                self._count_full(queue)
                raise QueueFull(f"{needed} tasks at once never fit the queue {queue.name!r}, of {queue.capacity}.")
            if self.until is None or self.until <= now:
                self._count_full(queue)
                raise QueueFull(f"the queue {queue.name!r} is full: it holds {queue.capacity} tasks.")
            broker.park_until_room(self, queue, needed)
            return False
        ledger.check_room(self.runs[0].envelope, len(self.bodies))
        limit = ledger.defaults.payload_bytes_max
        largest = max(map(len, self.bodies), default=0)
        if largest > limit:
            raise PayloadTooLarge(f"a payload of {largest} bytes; the limit is {limit}.")
        done = 0
        before = {
            index
            for run in self.runs
            if run.constraints.depends_on is not None
            for index in run.constraints.depends_on.keys
        }
        self.taken = []
        for run, other in zip(self.runs, others, strict=True):
            owner = None if done in before else self.session
            key = self._submit(ledger, run, other, done, owner, now)
            self.first = key if self.first is None else self.first
            done += run.size
        self._note(broker)
        return True

    def _count_full(self, queue: Queue) -> None:
        """It is refused because that queue is full."""
        envelope = next(run.envelope for run in self.runs if run.envelope.queue is queue)
        envelope.counters.count(envelope.counters.rejected, "full")

    def _other(self, ledger: Ledger, run: SubmitRun, now: float) -> Task | None:
        """Who has the unique key that a run wants; raises Undecided."""
        unique = run.constraints.unique_key
        return ledger.holder_of_unique(run.envelope.queue, unique, now) if unique else None

    def _submit(
        self, ledger: Ledger, run: SubmitRun, other: Task | None, done: int, owner: ClientSession | None, now: float
    ) -> int:
        """Note the tasks of one run; returns the first one's key."""
        envelope, size, when, constraints, conflict = run
        if other is not None:
            if conflict != REPLACE:
                self.taken.append((done, other.task_key, conflict == RETURN))
                envelope.counters.count(envelope.counters.rejected, "unique")
                return ledger.skip_key()
            ledger.cancel(other.task_key, "replaced by a newer submit")
        bodies = self.bodies[done : done + size]
        due_at, expires_at = (0.0, None) if when is None else moments(when, now)
        if constraints.depends_on is not None:
            constraints = constraints._replace(
                depends_on=constraints.depends_on._replace(first=constraints.depends_on.first + (self.first or 0))
            )
        if due_at or expires_at is not None or constraints is not NO_CONSTRAINTS:
            return ledger.submit(
                envelope, bodies, owner, now, due_at=due_at, expires_at=expires_at, constraints=constraints
            )
        return ledger.submit(envelope, bodies, owner, now)

    def _note(self, broker: Broker) -> None:
        """Have the store keep that this submit was taken, and what it was answered."""
        session = self.session
        told = json.dumps(self.taken).encode() if self.taken else b""
        row = SESSION.pack(self.number | (WITH_TAKEN if told else 0), self.first or 0) + session.key.encode()
        broker.keep_row(session.row_key, (row, told if told or not session.stored else KEEP))
        self.before, session.high = session.high, self.number

    def _too_full(self) -> tuple[Queue, int] | None:
        """The first queue that has not room for all, and for how many it would need it."""
        if len(self.runs) == 1:
            envelope, count = self.runs[0][:2]
            return (envelope.queue, count) if envelope.queue.room < count else None
        needed: dict[Queue, int] = {}
        for envelope, count, *_ in self.runs:
            needed[envelope.queue] = needed.get(envelope.queue, 0) + count
        return next(((queue, count) for queue, count in needed.items() if queue.room < count), None)

    def answer(self, broker: Broker, now: float) -> None:  # noqa: ARG002, D102
        answers = self.session.answers
        if self.first is not None:
            self.session.stored = True
            answers[self.number] = (True, self.first, self.taken) if self.taken else (True, self.first)
            if len(answers) > ANSWERS_KEPT:
                answers.popitem(last=False)
        known = answers.get(self.number)
        if known is None:
            sentence = f"submit {self.number} was answered too long ago to be answered again."
            known = (False, BadCall.code, sentence)
        self.connection.reply(returned(known))

    def expire(self, broker: Broker, now: float) -> None:  # noqa: D102
        if self.number <= self.session.high:
            self.answer(broker, now)  # the same submit, sent again over another connection, was taken meanwhile
        else:
            if (full := self._too_full()) is not None:
                self._count_full(full[0])
            self.refuse(QueueFull("the queue stayed full for as long as the client was ready to wait."))

    def undo(self) -> None:  # noqa: D102
        if self.session.high == self.number and self.first is not None:
            self.session.high = self.before
        self.first = None

    def put_back(self, broker: Broker, exc: CommitRefused, now: float) -> None:  # noqa: D102
        if self.first is not None:
            self.session.high = min(self.session.high, self.before)
            self.first = None
            self.refuse(exc)
        elif self.number <= self.session.high:
            self.answer(broker, now)
        else:
            self.refuse(exc)  # the same submit, sent again: the first of the two was refused just now

    def refuse(self, exc: DistqError) -> None:  # noqa: D102
        self.connection.reply(returned((False, exc.code, f"{exc} {exc.hint}".rstrip())))


def moments(when: When, now: float) -> tuple[float, float | None]:
    """From when on tasks submitted at `now` are ready, 0 for at once, and from when on they are not begun any more."""
    delay_s, eta, expires_s = when
    due_at = max(now + (delay_s or 0.0), eta or 0.0)
    return (due_at if due_at > now else 0.0), (None if expires_s is None else now + expires_s)


def read_submit(names: Registry, args: tuple[Any, ...], now: float) -> tuple[int, list[SubmitRun], list[bytes], float]:
    """The arguments of a submit, each checked; raises BadCall, or NameTooLong."""
    try:
        number, envelopes, runs, bodies, wait_s = args
        table = [_known(names, envelope) for envelope in envelopes]
        rows = [_run(names, now, table[index], *rest) for index, *rest in runs]
        good = (
            type(number) is int
            and 0 < number <= NUMBER_MAX
            and rows
            and all(type(row.size) is int and row.size > 0 for row in rows)
            and sum(row.size for row in rows) == len(bodies)
            and all(type(body) is bytes for body in bodies)
            and is_duration(wait_s)
        )
        if not good:
            raise TypeError("the numbers do not fit")  # noqa: TRY301
    except (TypeError, ValueError, IndexError, OverflowError) as exc:
        raise BadCall(
            f"submit(number, envelopes, runs, bodies, wait_s) was called with something else: {exc}."
        ) from exc
    _check_order(rows)
    unique = [(row.envelope.queue, row.constraints.unique_key) for row in rows if row.constraints.unique_key]
    if len(set(unique)) < len(unique):
        raise BadCall("one submit has a unique key twice: who is the first?")
    return number, rows, list(bodies), min(wait_s, WAIT_MAX_S)


def _check_order(runs: list[SubmitRun]) -> None:
    """Whether what comes before a task is there; raises BadCall."""
    begins = 0
    ordered = any(run.constraints.depends_on is not None for run in runs)
    for run in runs:
        after = run.constraints.depends_on
        if after is not None and not 0 <= after.first <= after.first + after.size <= begins:
            raise BadCall("what comes before a task is submitted before it, in the same call.")
        if ordered and run.constraints.unique_key:
            raise BadCall("a task that comes before or after others has no unique key: it must be there.")
        begins += run.size


def read_run(names: Registry, envelope: tuple[Any, ...], when: Any, constraints: Any, now: float) -> SubmitRun:
    """One task by itself, as a client says it; raises TypeError, ValueError, NameTooLong or TooManyNames."""
    run = _run(names, now, _known(names, envelope), 1, when, constraints)
    if run.constraints.depends_on is not None:
        raise ValueError("a task that is submitted by itself comes after no others")
    return run


def _run(
    names: Registry, now: float, envelope: Envelope, count: int, when: Any = None, constraints: Any = None
) -> SubmitRun:
    if constraints is None:
        return SubmitRun(envelope, count, _when(when, now), NO_CONSTRAINTS, REJECT)
    key, at_once, unique, unique_for_s, conflict, *rest = constraints
    key = None if key is None else text("concurrency_key", key, KEY_BYTES_MAX)
    unique = None if unique is None else text("unique_key", unique, KEY_BYTES_MAX)
    at_once = None if at_once is None else whole("concurrency", at_once)
    unique_for_s = None if unique_for_s is None else seconds("unique_for", unique_for_s, said=True)
    if conflict not in CONFLICTS:
        raise ValueError(f"on_conflict is {', '.join(CONFLICTS)}, not {shown(conflict)}")
    if unique and count != 1:
        raise ValueError("a unique key is of one task")
    if unique_for_s is not None and unique_for_s > envelope.result_ttl_s:
        envelope = names.with_result_ttl(envelope, unique_for_s)  # who has the key is known by its result
    after = _after(*rest[0]) if rest and rest[0] is not None else None
    travels = headers("headers", rest[1]) if len(rest) > 1 else ()
    known = TaskConstraints(key or "", at_once or 1, unique or "", unique_for_s, after, travels)
    return SubmitRun(envelope, count, _when(when, now), NO_CONSTRAINTS if known == NO_CONSTRAINTS else known, conflict)


def _after(first: int, size: int, policy: str, single: bool) -> DependsOn:
    if type(first) is not int or type(size) is not int or size < 0 or type(single) is not bool:
        raise TypeError("what comes before a task is an index and a number of tasks")
    if policy not in FAILURE_POLICIES or (single and size != 1):
        raise ValueError(f"a failure before a task has it {', '.join(FAILURE_POLICIES)}; one alone is no list")
    return DependsOn(first, size, policy, single)


def _when(when: Any, now: float) -> When | None:
    if when is None:
        return None
    delay, eta, expires = when
    return (
        None if delay is None else seconds("delay", delay, said=True),
        None if eta is None else instant("eta", eta, now),
        None if expires is None else seconds("expires", expires, said=True),
    )


def _known(names: Registry, spoken: Any) -> Envelope:
    """The envelope that a client means; its options are checked when it comes for the first time."""
    said = tuple(spoken)
    envelope = names.recent.get(said)
    if envelope is None:
        envelope = _envelope(names, *said)
        names.recent.keep(said, envelope)
    return envelope


def _envelope(
    names: Registry,
    queue: str,
    name: str,
    priority: int | None = None,
    retries: int | None = None,
    time_limit_s: float | None = None,
    result_ttl_s: float | None = None,
    max_deliveries: int | None = None,
    requires: tuple[str, ...] | None = None,
    cost: int | None = None,
) -> Envelope:
    if not (isinstance(queue, str) and isinstance(name, str) and queue and name):
        raise TypeError("a queue's and a task's name are texts")
    priority = PRIORITY_DEFAULT if priority is None else whole("priority", priority)
    retries = None if retries is None else whole("retries", retries)
    max_deliveries = None if max_deliveries is None else whole("max_deliveries", max_deliveries)
    time_limit_s = None if time_limit_s is None else seconds("time_limit", time_limit_s, said=True)
    result_ttl_s = None if result_ttl_s is None else seconds("result_ttl", result_ttl_s, said=True)
    required = labels("requires", requires) if requires else ()
    cost = 1 if cost is None else whole("cost", cost)
    known = names.queues.get(queue)
    if known is not None and known.role == RESULT:
        raise ValueError(f"{queue!r} is a queue of results: no worker takes tasks from it")
    return names.envelope(
        queue,
        name,
        TASK,
        priority=priority,
        retries=retries,
        time_limit_s=time_limit_s,
        result_ttl_s=result_ttl_s,
        max_deliveries=max_deliveries,
        requires=frozenset(required),
        cost=cost,
    )
