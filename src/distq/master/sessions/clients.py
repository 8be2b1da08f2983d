"""Client sessions, and the results that are pushed to who submitted."""

from __future__ import annotations

import json
import struct
from collections import OrderedDict
from collections.abc import Mapping
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from distq.core.states import GONE, LATER, LIVE_STATES
from distq.core.task import Owner, Task
from distq.master.cycle.requests import CallRequest, Request
from distq.master.sessions.result_backlog import (
    ROWS_BYTES_MAX,
    ROWS_MAX,
    BodyCache,
    ResultBacklog,
    read_row,
    stored_row,
)
from distq.protocol.results import TaskEnd
from distq.wire.errors import BadCall
from distq.wire.messages import returned

if TYPE_CHECKING:
    from distq.master.cycle.requests import Cycle
    from distq.net.serve import ServerConnection

IDLE_S: Final = 3600.0
"""How long a client that is away may come back to its session."""
EXAMINED_MAX: Final = 200
"""Maximum sessions that one cycle looks at for their idleness."""
SESSIONS_MAX: Final = 100_000
"""Maximum sessions, of a kilobyte each; beyond it that of a client without a connection ends before IDLE_S is over."""

SESSION: Final = struct.Struct("!QQ")
"""A session's row: its highest submit and the key of that one's first task; then the session's own key."""
WITH_TAKEN: Final = 1 << 63
"""Set in the highest submit where unique keys had been taken: the row's body says which."""
Taken = tuple[int, int, bool]
"""Index of a task that was not submitted, key of the one that has its unique key, whether that one is the answer."""


class ClientSession(Owner):
    """One client, over all its connections."""

    __slots__ = (
        "answers",
        "backlog",
        "connections",
        "high",
        "key",
        "looked_at",
        "request",
        "row_key",
        "seen_at",
        "sent_number",
        "stored",
    )

    def __init__(self, key: str, row_key: int, bodies: BodyCache) -> None:
        super().__init__()
        self.key = key
        self.row_key = row_key
        """Where the store has what a restarted master must know of it."""
        self.stored = False
        """Whether its row is there already, so that its head alone is written from now on."""
        self.high = 0
        """The highest submit number that was taken."""
        self.answers: OrderedDict[int, object] = OrderedDict()
        self.backlog = ResultBacklog(bodies)
        self.sent_number = 0
        self.request: SendResults | None = None
        self.seen_at = 0.0
        """When it last said hello, submitted or asked for results."""
        self.looked_at = 0.0
        """When it was last looked at for its idleness, or began."""
        self.connections = 0
        """Its open connections."""


class Clients:
    """All client sessions."""

    def __init__(self, cycle: Cycle, epoch: int) -> None:
        self.sessions: OrderedDict[str, ClientSession] = OrderedDict()
        """By key, in the order in which they are to be looked at for their idleness."""
        self.bodies = BodyCache()
        """What of their undelivered results is in memory."""
        self._cycle = cycle
        self._next_row = -(epoch << 40) - 1
        self._idleness: IdleTimeout | None = None
        """Due when the first of the sessions is to be looked at; None while there are none."""

    def session(self, key: str) -> ClientSession:
        """The session of that key, made at first use."""
        session = self.sessions.get(key)
        if session is None:
            session = self._add(key, self._next_row)
            self._next_row -= 1
        session.seen_at = self._cycle.clock.now()
        return session

    def connect(self, connection: ServerConnection, key: str) -> None:
        """A connection is that of the client of that key."""
        connection.state = session = self.session(key)
        session.connections += 1

    def restore(self, rows: Mapping[int, bytes], bodies: Mapping[int, bytes]) -> None:
        """Know again, after a restart, which submits were taken: sent again they are answered as they were.

        `bodies` has those of `incomplete(rows)`.
        """
        for row_key, stored in rows.items():
            high, first = SESSION.unpack_from(stored)
            session = self._add(stored[SESSION.size :].decode(), row_key)
            session.high, session.stored = high & ~WITH_TAKEN, True
            answer = (True, first, json.loads(bodies[row_key])) if high & WITH_TAKEN else (True, first)
            session.answers[session.high] = answer

    def _add(self, key: str, row_key: int) -> ClientSession:
        if len(self.sessions) >= SESSIONS_MAX:
            self._cycle.ask(MakeRoom(self))
        session = self.sessions[key] = ClientSession(key, row_key, self.bodies)
        session.seen_at = session.looked_at = self._cycle.clock.now()
        if self._idleness is None:
            self._idleness = IdleTimeout(self)
            self._cycle.ask_at(session.seen_at + IDLE_S, self._idleness)
        return session

    def make_room(self, now: float) -> None:
        """End the session of the first of the next few that has no connection."""
        for session in [*islice(self.sessions.values(), EXAMINED_MAX)]:
            if not session.connections:
                self.end(session)
                return
            session.looked_at = now
            self.sessions.move_to_end(session.key)

    def examine(self, now: float) -> float | None:
        """End the sessions that have been idle for too long; returns when to look again, None if there are none.

        All wait equally long, so the order of their beginnings and looks is that of their moments, and a session that
        ends leaves nothing behind that waits for a moment of its own.
        """
        for _ in range(EXAMINED_MAX):
            session = next(iter(self.sessions.values()), None)
            if session is None:
                self._idleness = None
                return None
            if session.looked_at + IDLE_S > now:
                return session.looked_at + IDLE_S
            if session.seen_at + IDLE_S > now or session.request is not None:
                session.looked_at = now
                self.sessions.move_to_end(session.key)
            else:
                self.end(session)
        return now

    def push(self) -> None:
        """Send what has ended to those who wait for it."""
        heard = self._cycle.ledger.state.owners_to_notify
        if heard:
            self._cycle.ledger.state.owners_to_notify = {}
            for owner in heard:
                if not isinstance(owner, ClientSession):
                    continue
                if not owner.ended:
                    owner.backlog.add(owner.outbox)
            for owner in heard:
                for task in owner.outbox:
                    task.body = None  # the rows have it, and the store
                owner.outbox.clear()
                if isinstance(owner, ClientSession) and owner.request is not None:
                    owner.request.push(self._cycle)

    def current(self, connection: ServerConnection) -> ClientSession | None:
        """The session of a client's connection; one that had ended while the connection stayed begins anew."""
        session = connection.state
        if not isinstance(session, ClientSession):
            return None
        if session.ended:
            self.connect(connection, session.key)
            return self.current(connection)
        session.seen_at = self._cycle.clock.now()
        return session

    def end(self, session: ClientSession) -> None:
        """The client will ask for nothing more: what is kept for it goes, and its tasks go on."""
        if self.sessions.get(session.key) is session:
            del self.sessions[session.key]
        session.ended = True
        session.backlog.clear()
        session.answers.clear()
        if session.high:
            self._cycle.keep_row(session.row_key, None)
            session.stored = False

    def line_closed(self, connection: ServerConnection) -> None:
        """A client's connection has ended; its session lives on for a while."""
        session = connection.state
        if not isinstance(session, ClientSession):
            return
        session.connections -= 1
        if session.request is not None and session.request.connection is connection:
            self._cycle.forget(session.request)
            session.request = None


class IdleTimeout(Request):
    """Due when client sessions may have been idle for too long."""

    __slots__ = ("clients",)

    def __init__(self, clients: Clients) -> None:
        super().__init__()
        self.clients = clients

    def shift(self, by_s: float) -> None:  # noqa: D102 - as Request
        for session in self.clients.sessions.values():
            session.seen_at += by_s
            session.looked_at += by_s

    def answer(self, cycle: Cycle, now: float) -> None:  # noqa: D102
        at = self.clients.examine(now)
        if at is not None:
            cycle.ask_at(at, self)


class MakeRoom(Request):
    """Due when there is one session more than SESSIONS_MAX."""

    __slots__ = ("clients",)

    def __init__(self, clients: Clients) -> None:
        super().__init__()
        self.clients = clients

    def answer(self, cycle: Cycle, now: float) -> None:  # noqa: ARG002, D102 - as Request
        self.clients.make_room(now)


class Goodbye(CallRequest):
    """`goodbye()`: the client has ended, and asks for none of its results any more; its tasks are run all the same."""

    __slots__ = ("clients", "session")

    def __init__(self, connection: ServerConnection, clients: Clients, session: ClientSession) -> None:
        super().__init__(connection)
        self.clients = clients
        self.session = session

    def answer(self, cycle: Cycle, now: float) -> None:  # noqa: D102 - as Request
        request = self.session.request
        if request is not None:
            cycle.forget(request)
            request.expire(cycle, now)
        self.clients.end(self.session)
        self.connection.reply(returned(None))


class SendResults(CallRequest):
    """`results(number, wait_s)`: what has ended since the reply with that number, or a wait until something has."""

    __slots__ = ("number", "reading", "session", "wait_s")

    def __init__(self, connection: ServerConnection, session: ClientSession, number: int, wait_s: float) -> None:
        super().__init__(connection)
        self.session = session
        self.number = number
        self.wait_s = wait_s
        self.reading = False
        """Whether the store reads what it is to be answered."""

    def answer(self, cycle: Cycle, now: float) -> None:  # noqa: D102
        session = self.session
        if not self.connection.open:
            return
        before = session.request
        if before is not None and before is not self:
            cycle.forget(before)
            before.connection.reply(returned((before.number, [])))
        session.request = self
        backlog = session.backlog
        if backlog.sent and self.number < session.sent_number:
            backlog.send_again()
            session.sent_number -= 1
        else:
            backlog.confirm()
        if backlog.rows:
            self.push(cycle)
        elif self.wait_s > 0:
            self.until = now + self.wait_s
            cycle.park_idle(self)
        else:
            self._reply([])

    def push(self, cycle: Cycle) -> None:
        """Reply with what has ended."""
        if self.reading:
            return
        cycle.forget(self)
        backlog = self.session.backlog
        rows = backlog.next_in_memory(cycle.reply_bytes_max)
        if rows:
            self._send(rows, read=False)
            return
        self.reading = True
        stored = backlog.next_in_store(cycle.reply_bytes_max)

        def read(bodies: list[bytes | None]) -> None:
            self.reading = False
            if self.session.request is self:  # the client has not called again on another connection
                tasks = cycle.ledger.state.tasks
                self._send([read_row(tasks, row, body) for row, body in zip(stored, bodies, strict=False)], read=True)

        cycle.read(self, [key for key, *_ in stored], read, ROWS_BYTES_MAX)

    def expire(self, cycle: Cycle, now: float) -> None:  # noqa: ARG002, D102
        self._reply([])

    def _send(self, rows: list[TaskEnd], *, read: bool) -> None:
        self.session.backlog.send(rows, read=read)
        self.session.sent_number += 1
        self._reply(rows)

    def _reply(self, rows: list[TaskEnd]) -> None:
        self.session.request = None
        self.connection.reply(returned((self.session.sent_number, rows)))


def incomplete(rows: Mapping[int, bytes]) -> list[int]:
    """Keys of those sessions' rows whose bodies must be read as well."""
    return [key for key, stored in rows.items() if SESSION.unpack_from(stored)[0] & WITH_TAKEN]


class WatchTasks(CallRequest):
    """`watch(keys)`: a client wants to hear how these tasks end, which another one may have submitted.

    The reply is a row for each that has ended, or is not known (GONE), or whose end does not fit the reply (LATER); the
    others are pushed when they end.
    """

    __slots__ = ("keys", "session")

    def __init__(self, connection: ServerConnection, session: ClientSession, keys: list[int]) -> None:
        super().__init__(connection)
        self.session = session
        self.keys = keys

    def answer(self, cycle: Cycle, now: float) -> None:  # noqa: ARG002, D102
        tasks = cycle.ledger.state.tasks
        rows: list[TaskEnd] = []
        ended: list[Task] = []
        for key in self.keys:
            task = tasks.get(key)
            if task is None:
                rows.append((key, GONE, None, None))
            elif task.state in LIVE_STATES:
                cycle.ledger.state.subscribe(task, self.session)
            else:
                ended.append(task)

        def reply(bodies: list[bytes | None]) -> None:
            rows.extend(stored_row(task, body) for task, body in zip(ended, bodies, strict=False))
            rows.extend((task.task_key, LATER, None, None) for task in ended[len(bodies) :])
            self.connection.reply(returned(rows))

        cycle.read(self, [task.task_key for task in ended], reply, ROWS_BYTES_MAX)


def read_watch(args: tuple[Any, ...], method: str = "watch") -> list[int]:
    """The argument of a call about a client's tasks, checked; raises BadCall."""
    keys = args[0] if len(args) == 1 else None
    if not isinstance(keys, list) or len(keys) > ROWS_MAX or not all(type(key) is int for key in keys):
        raise BadCall(f"{method}(keys) takes a list of at most {ROWS_MAX} task keys.")
    return keys
