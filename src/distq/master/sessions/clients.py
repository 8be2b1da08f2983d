"""Client sessions, and the requests by which clients receive the results of their tasks."""

from __future__ import annotations

import json
import struct
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Final

from distq.core.loading import UnreadableRow
from distq.core.task import Owner
from distq.master.cycle.requests import CallRequest, Request
from distq.master.sessions.result_backlog import (
    ROWS_BYTES_MAX,
    BodyCache,
    ResultBacklog,
    read_row,
)
from distq.protocol.results import BODY, TaskEnd
from distq.wire.framing import PART_BYTES_MIN
from distq.wire.messages import beside, pack_returned, returned

if TYPE_CHECKING:
    from distq.master.cycle.requests import Cycle
    from distq.net.serve import ServerConnection

IDLE_S: Final = 3600.0
"""Seconds for which the master keeps the session of a client that sends nothing, so that the client can resume it."""
EXAMINED_MAX: Final = 200
"""Maximum sessions whose idleness one cycle checks, so that the check delays no other request."""

SESSION: Final = struct.Struct("!QQ")
"""A session's stored row: its highest submit number and that submit's first task key; the session's key follows."""
WITH_CONFLICTS: Final = 1 << 63
"""Bit in the highest submit number, set if the submit met unique keys in use: the body lists each `UniqueConflict`."""


class ClientSession(Owner):
    """One client, over all its connections."""

    __slots__ = (
        "answers",
        "backlog",
        "connections",
        "high",
        "holder",
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
        self.holder = ""
        """Name of the key with which the client last connected; empty after a restart until then."""
        self.row_key = row_key
        """Key of the stored row from which a restarted master restores the session."""
        self.stored = False
        """Whether the store has the row already, so that the master writes only its head from now on."""
        self.high = 0
        """The highest number of a submit that the master accepted."""
        self.answers: OrderedDict[int, object] = OrderedDict()
        self.backlog = ResultBacklog(bodies)
        self.sent_number = 0
        self.request: SendResults | None = None
        self.seen_at = 0.0
        """When the client last called `hello`, `submit` or `results`."""
        self.looked_at = 0.0
        """When the session began or its idleness was last checked."""
        self.connections = 0
        """Number of the client's open connections."""

    @property
    def backlog_id(self) -> str:
        """Another text once ends of the client's tasks may have been dropped."""
        return f"{self.row_key}.{self.backlog.drops}"


class Clients:
    """All client sessions."""

    def __init__(self, cycle: Cycle, epoch: int) -> None:
        self.sessions: OrderedDict[str, ClientSession] = OrderedDict()
        """The sessions by key, in the order in which the master checks their idleness."""
        self.bodies = BodyCache()
        """The bodies of undelivered results that are in memory."""
        self._by_holder: dict[str, OrderedDict[str, ClientSession]] = {}
        """The sessions by the name of their key."""
        self._cycle = cycle
        self._next_row = -(epoch << 40) - 1
        self._idleness: IdleTimeout | None = None
        """Due when the first session's idleness is to be checked; None while there are no sessions."""

    def session(self, key: str, holder: str) -> ClientSession:
        """Return the session with that key of a client whose authkey has the name `holder`; create it at first use."""
        session = self.sessions.get(key)
        if session is None:
            session = self._add(key, self._next_row, holder)
            self._next_row -= 1
        elif session.holder != holder:
            self._hold(session, holder)
        session.seen_at = self._cycle.clock.now()
        return session

    def connect(self, connection: ServerConnection, key: str) -> None:
        """Assign a connection to the session of the client with that key."""
        connection.state = session = self.session(key, connection.authority.name)
        session.connections += 1

    def restore(self, rows: Mapping[int, bytes], bodies: Mapping[int, bytes]) -> None:
        """Restore the sessions after a restart: a submit that a client sends again receives its first answer again.

        `bodies` has the bodies of the rows that `incomplete(rows)` names.
        """
        for row_key, stored in rows.items():
            try:
                high, first = SESSION.unpack_from(stored)
                session_key = stored[SESSION.size :].decode()
                conflicts = (json.loads(bodies[row_key]),) if high & WITH_CONFLICTS else ()
            except (struct.error, ValueError, KeyError) as exc:
                raise UnreadableRow(f"The session of a client in the store cannot be read: {exc!r}.") from exc
            session = self._add(session_key, row_key, "")
            session.high, session.stored = high & ~WITH_CONFLICTS, True
            session.answers[session.high] = (True, first, *conflicts)

    def _add(self, key: str, row_key: int, holder: str) -> ClientSession:
        defaults, held = self._cycle.ledger.defaults, self._by_holder.get(holder, ())
        own_max = defaults.sessions_per_key_max
        if own_max is not None and holder and len(held) >= own_max:
            self._cycle.ask(MakeRoom(self, "sessions_per_key_max", holder))
        elif len(self.sessions) >= defaults.sessions_max:
            self._cycle.ask(MakeRoom(self, "sessions_max"))
        session = self.sessions[key] = ClientSession(key, row_key, self.bodies)
        self._hold(session, holder)
        session.seen_at = session.looked_at = self._cycle.clock.now()
        if self._idleness is None:
            self._idleness = IdleTimeout(self)
            self._cycle.ask_at(session.seen_at + IDLE_S, self._idleness)
        return session

    def _hold(self, session: ClientSession, holder: str) -> None:
        self._release(session)
        session.holder = holder
        self._by_holder.setdefault(holder, OrderedDict())[session.key] = session

    def _release(self, session: ClientSession) -> None:
        held = self._by_holder.get(session.holder)
        if held is not None and held.pop(session.key, None) is not None and not held:
            del self._by_holder[session.holder]

    def make_room(self, limit: str, holder: str | None) -> None:
        """End the oldest session without a connection of a key, or of the key that has the most, for `limit`.

        Only `EXAMINED_MAX` sessions are examined; those with a connection are examined last the next time.
        """
        if holder is None:
            holder = max(self._by_holder, key=lambda name: len(self._by_holder[name]))
        held = self._by_holder.get(holder, OrderedDict[str, ClientSession]())
        for session in [*islice(held.values(), EXAMINED_MAX)]:
            if not session.connections:
                self._cycle.ledger.registry.limits_met[limit] += 1
                self.end(session)
                return
            held.move_to_end(session.key)

    def examine(self, now: float) -> float | None:
        """End the sessions that were idle for `IDLE_S`; return when to check again, or None if there are no sessions.

        The timeout is the same for all sessions, so they become due in the order in which they began or were last
        checked. One timer serves all sessions: a session that ends leaves no timer behind.
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
        """Send the ends of tasks to the clients whose requests wait for them."""
        owners = self._cycle.ledger.state.owners_to_notify
        if owners:
            self._cycle.ledger.state.owners_to_notify = {}
            for owner in owners:
                if not isinstance(owner, ClientSession):
                    continue
                if not owner.ended:
                    if owner.request is not None:
                        owner.backlog.note_call()  # a client that waits is calling now
                    owner.backlog.add(owner.outbox)
            for owner in owners:
                for task in owner.outbox:
                    task.body = None  # the backlog's rows and the store have it
                owner.outbox.clear()
                if isinstance(owner, ClientSession) and owner.request is not None:
                    owner.request.push(self._cycle)

    def current(self, connection: ServerConnection) -> ClientSession | None:
        """Return the session of a client's connection; begin a new one if it ended while the connection was open.

        A connection whose session has lost ends of tasks is closed: the client connects again and asks about its tasks.
        """
        session = connection.state
        if not isinstance(session, ClientSession):
            return None
        if session.ended:
            self.connect(connection, session.key)
            session = self.current(connection)
            connection.abort()
            return session
        if session.backlog.has_news_of_drops:
            session.backlog.has_news_of_drops = False
            connection.abort()
        session.seen_at = self._cycle.clock.now()
        return session

    def end(self, session: ClientSession) -> None:
        """End a client's session and drop what the master keeps for it; the client's tasks go on."""
        if self.sessions.get(session.key) is session:
            del self.sessions[session.key]
            self._release(session)
        session.ended = True
        session.backlog.clear()
        session.answers.clear()
        if session.high:
            self._cycle.keep_row(session.row_key, None)
            session.stored = False

    def connection_closed(self, connection: ServerConnection) -> None:
        """Note that a client's connection has ended; its session stays until it has been idle for `IDLE_S`."""
        session = connection.state
        if not isinstance(session, ClientSession):
            return
        session.connections -= 1
        if session.request is not None and session.request.connection is connection:
            self._cycle.forget(session.request)
            session.request = None


class IdleTimeout(Request):
    """Due when a client session may have been idle for `IDLE_S`."""

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
    """Due when a new session would exceed DISTQ_SESSIONS_MAX, or DISTQ_SESSIONS_PER_KEY_MAX of one key."""

    __slots__ = ("clients", "holder", "limit")

    def __init__(self, clients: Clients, limit: str, holder: str | None = None) -> None:
        super().__init__()
        self.clients = clients
        self.limit = limit
        self.holder = holder

    def answer(self, cycle: Cycle, now: float) -> None:  # noqa: ARG002, D102 - as Request
        self.clients.make_room(self.limit, self.holder)


class Goodbye(CallRequest):
    """`goodbye()`: the client ends its session and needs no more results; the workers still run its tasks."""

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
    """`results(number, wait_s)`: replies with the tasks that ended after that reply; waits at most `wait_s` for one."""

    __slots__ = ("number", "reading", "session", "wait_s")

    def __init__(self, connection: ServerConnection, session: ClientSession, number: int, wait_s: float) -> None:
        super().__init__(connection)
        self.session = session
        self.number = number
        self.wait_s = wait_s
        self.reading = False
        """Whether the store is reading the bodies for the reply."""

    def answer(self, cycle: Cycle, now: float) -> None:  # noqa: D102
        session = self.session
        if not self.connection.open:
            return
        previous = session.request
        if previous is not None and previous is not self:
            cycle.forget(previous)
            previous.connection.reply(returned((previous.number, [])))
        session.request = self
        backlog = session.backlog
        backlog.note_call()
        if backlog.sent and self.number < session.sent_number:
            backlog.send_again()
            session.sent_number -= 1
        else:
            backlog.confirm()
        if backlog.rows:
            self.push(cycle)
        elif self.wait_s > 0:
            self.until_at = now + self.wait_s
            cycle.park_idle(self)
        else:
            self._reply([])

    def push(self, cycle: Cycle) -> None:
        """Reply with the ends of tasks; the store reads the bodies that are not in memory."""
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

        cycle.read(self, [task_key for task_key, *_ in stored], read, ROWS_BYTES_MAX)

    def expire(self, cycle: Cycle, now: float) -> None:  # noqa: ARG002, D102
        self._reply([])

    def _send(self, rows: list[TaskEnd], *, read: bool) -> None:
        backlog = self.session.backlog
        may_split = self.connection.reads_split and (read or backlog.bytes >= PART_BYTES_MIN)
        backlog.send(rows, read=read)
        self.session.sent_number += 1
        self._reply(beside(rows, BODY) if may_split else rows)

    def _reply(self, rows: Sequence[TaskEnd]) -> None:
        self.session.request = None
        self.connection.reply_parts(pack_returned((self.session.sent_number, rows)))


def incomplete(rows: Mapping[int, bytes]) -> list[int]:
    """Return the keys of the session rows whose bodies the store must read too."""
    return [row_key for row_key, stored in rows.items() if stored[:1] >= b"\x80"]  # WITH_CONFLICTS is the first bit
