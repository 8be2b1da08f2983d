"""Submits: whole or not at all, and once however often they are sent."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from distq.core.errors import DistqError, PayloadTooLarge, QueueFull
from distq.core.names import ENVELOPES_MAX
from distq.core.ports import KEEP
from distq.core.queue import RESULT
from distq.core.task import PRIORITIES, PRIORITY_DEFAULT, TASK, Envelope
from distq.master.clients import SESSION, ClientSession
from distq.master.requests import WAIT_MAX_S, Asked, is_duration
from distq.wire.errors import BadCall
from distq.wire.messages import returned

if TYPE_CHECKING:
    from distq.core.names import Names
    from distq.core.ports import Refused
    from distq.core.queue import Queue
    from distq.master.broker import Broker
    from distq.net.serve import Line

ANSWERS_KEPT: Final = 64
"""How many of its last submits a client may send again; it has fewer under way."""
TRIES_MAX: Final = 10_000
"""Bound of `retries` and `max_deliveries`; a head counts them in 16 bits."""


When = tuple["float | None", "float | None", "float | None"]
"""Delay, the moment (seconds since 1970) before which a task is not begun, and after how long it expires; seconds."""
Run = tuple[Envelope, int, "When | None"]


class Submit(Asked):
    """`submit(number, envelopes, runs, bodies, wait_s)`: so many tasks of each envelope, all or none.

    A run is (envelope, how many) or (envelope, how many, (delay_s, eta, expires_s)), None for what is not asked.

    The reply is `(True, key of the first)`, the others follow it without gaps, or `(False, code, sentence)`.
    """

    __slots__ = ("before", "bodies", "first", "number", "runs", "session")

    def __init__(
        self,
        line: Line,
        session: ClientSession,
        number: int,
        runs: list[Run],
        bodies: list[bytes],
    ) -> None:
        super().__init__(line)
        self.session = session
        self.number = number
        self.runs = runs
        self.bodies = bodies
        self.first: int | None = None
        self.before = 0

    def weight(self) -> tuple[int, int]:  # noqa: D102 - as Request
        return len(self.bodies), sum(map(len, self.bodies))

    def decide(self, broker: Broker, now: float) -> bool:  # noqa: D102
        if self.number <= self.session.high:
            return True
        full = self._too_full()
        if full is not None:
            queue, needed = full
            if needed > queue.capacity:
                raise QueueFull(f"{needed} tasks at once never fit the queue {queue.name!r}, of {queue.capacity}.")
            if self.until is None or self.until <= now:
                raise QueueFull(f"the queue {queue.name!r} is full: it holds {queue.capacity} tasks.")
            broker.park_for_room(self, queue, needed)
            return False
        broker.ledger.check_room(self.runs[0][0], len(self.bodies))
        limit = broker.ledger.rules.payload_bytes_max
        largest = max(map(len, self.bodies), default=0)
        if largest > limit:
            raise PayloadTooLarge(f"a payload of {largest} bytes; the limit is {limit}.")
        done = 0
        for envelope, count, when in self.runs:
            bodies = self.bodies[done : done + count]
            if when is None:
                key = broker.ledger.submit(envelope, bodies, self.session, now)
            else:
                due_at, expires_at = moments(when, now)
                key = broker.ledger.submit(envelope, bodies, self.session, now, due_at=due_at, expires_at=expires_at)
            self.first = key if self.first is None else self.first
            done += count
        session = self.session
        self.before, session.high = session.high, self.number
        row = SESSION.pack(self.number, self.first or 0) + session.key.encode()
        broker.keep_row(session.row_key, (row, KEEP if session.stored else b""))
        return True

    def _too_full(self) -> tuple[Queue, int] | None:
        """The first queue that has not room for all, and for how many it would need it."""
        if len(self.runs) == 1:
            ((envelope, count, _),) = self.runs
            return (envelope.queue, count) if envelope.queue.room < count else None
        needed: dict[Queue, int] = {}
        for envelope, count, _ in self.runs:
            needed[envelope.queue] = needed.get(envelope.queue, 0) + count
        return next(((queue, count) for queue, count in needed.items() if queue.room < count), None)

    def answer(self, broker: Broker, now: float) -> None:  # noqa: ARG002, D102
        answers = self.session.answers
        if self.first is not None:
            self.session.stored = True
            answers[self.number] = (True, self.first)
            if len(answers) > ANSWERS_KEPT:
                answers.popitem(last=False)
        known = answers.get(self.number)
        if known is None:
            sentence = f"submit {self.number} was answered too long ago to be answered again."
            known = (False, BadCall.code, sentence)
        self.line.reply(returned(known))

    def expire(self, broker: Broker, now: float) -> None:  # noqa: D102
        if self.number <= self.session.high:
            self.answer(broker, now)  # the same submit, sent again over another connection, was taken meanwhile
        else:
            self.refuse(QueueFull("the queue stayed full for as long as the client was ready to wait."))

    def put_back(self, broker: Broker, exc: Refused, now: float) -> None:  # noqa: D102
        if self.first is not None:
            self.session.high = min(self.session.high, self.before)
            self.first = None
            self.refuse(exc)
        elif self.number <= self.session.high:
            self.answer(broker, now)
        else:
            self.refuse(exc)  # the same submit, sent again: the first of the two was refused just now

    def refuse(self, exc: DistqError) -> None:  # noqa: D102
        self.line.reply(returned((False, exc.code, f"{exc} {exc.hint}".rstrip())))


def moments(when: When, now: float) -> tuple[float, float | None]:
    """From when on tasks submitted at `now` are ready, 0 for at once, and from when on they are not begun any more."""
    delay_s, eta, expires_s = when
    due_at = max(now + (delay_s or 0.0), eta or 0.0)
    return (due_at if due_at > now else 0.0), (None if expires_s is None else now + expires_s)


def read_submit(names: Names, args: tuple[Any, ...]) -> tuple[int, list[Run], list[bytes], float]:
    """The arguments of a submit, each checked; raises BadCall, or NameTooLong."""
    try:
        number, envelopes, runs, bodies, wait_s = args
        table = [_known(names, envelope) for envelope in envelopes]
        rows = [(table[index], count, _when(*rest)) for index, count, *rest in runs]
        good = (
            type(number) is int
            and rows
            and all(type(count) is int and count > 0 for _, count, _ in rows)
            and sum(count for _, count, _ in rows) == len(bodies)
            and all(type(body) is bytes for body in bodies)
            and is_duration(wait_s)
        )
        if not good:
            raise TypeError("the numbers do not fit")  # noqa: TRY301
    except (TypeError, ValueError, IndexError) as exc:
        raise BadCall(
            f"submit(number, envelopes, runs, bodies, wait_s) was called with something else: {exc}."
        ) from exc
    return number, rows, list(bodies), min(wait_s, WAIT_MAX_S)


def _when(when: Any = None) -> When | None:
    if when is None:
        return None
    delay_s, eta, expires_s = when
    if not all(number is None or is_duration(number) for number in (delay_s, eta, expires_s)):
        raise TypeError("delay, eta and expires are seconds")
    if max(delay_s or 0.0, expires_s or 0.0) > WAIT_MAX_S:
        raise ValueError(f"delay and expires are at most {WAIT_MAX_S:,.0f} s")
    return delay_s, eta, expires_s


def _known(names: Names, spoken: Any) -> Envelope:
    """The envelope that a client means; its options are checked when it comes for the first time."""
    said = tuple(spoken)
    envelope = names.said.get(said)
    if envelope is None:
        if len(names.said) >= ENVELOPES_MAX:
            names.said.clear()  # the same envelope can be asked for in several ways
        envelope = names.said[said] = _envelope(names, *said)
    return envelope


def _envelope(
    names: Names,
    queue: str,
    name: str,
    priority: int | None = None,
    retries: int | None = None,
    time_limit_s: float | None = None,
    result_ttl_s: float | None = None,
    max_deliveries: int | None = None,
) -> Envelope:
    if not (isinstance(queue, str) and isinstance(name, str) and queue and name):
        raise TypeError("a queue's and a task's name are texts")
    if not all(number is None or type(number) is int for number in (priority, retries, max_deliveries)):
        raise TypeError("priority, retries and max_deliveries are whole numbers")
    if not all(number is None or is_duration(number) for number in (time_limit_s, result_ttl_s)):
        raise TypeError("time_limit_s and result_ttl_s are seconds")
    priority = PRIORITY_DEFAULT if priority is None else priority
    if not 0 <= priority < PRIORITIES:
        raise ValueError(f"a priority is 0 to {PRIORITIES - 1}")
    if retries is not None and not 0 <= retries <= TRIES_MAX:
        raise ValueError(f"retries are 0 to {TRIES_MAX}")
    if max_deliveries is not None and not 1 <= max_deliveries <= TRIES_MAX:
        raise ValueError(f"max_deliveries is 1 to {TRIES_MAX}")
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
    )
