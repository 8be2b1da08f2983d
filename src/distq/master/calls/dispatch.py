"""The desk: which call of a peer goes to whom.

After the handshake every call is answered in words: what is not offered here, what this master does not know,
and what BaseManager's servers would do for anybody (`shutdown`) is a refusal, never a closed connection.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from distq._version import __version__
from distq.core.errors import DistqError
from distq.core.queue import RESULT, WORK, Queue
from distq.core.ranges import count_of, is_duration, shown, text
from distq.core.states import LEASED
from distq.master.admin.actions import AdminActions
from distq.master.admin.backups import BackupCopy
from distq.master.admin.cancels import read_cancel
from distq.master.admin.inspection import stuck
from distq.master.admin.schedules import Schedules
from distq.master.calls.dependencies import read_upstream
from distq.master.calls.exchange import ExchangeCall, ResultQueues, queues_of, read_exchange
from distq.master.calls.plain import METHODS, PlainQueues
from distq.master.calls.plain_peer import PlainPeer
from distq.master.calls.streams import Streams, read_stream
from distq.master.calls.submit import SubmitTasks
from distq.master.cycle.housekeeping import NAMES_KEPT_S, DiscardUnused
from distq.master.cycle.requests import WAIT_MAX_S
from distq.master.sessions.clients import Clients, ClientSession, Goodbye, SendResults, WatchTasks, read_watch
from distq.master.sessions.worker_session import ExecutorHolder, WorkerSession
from distq.master.sessions.workers import Workers
from distq.protocol.submit import read_submit
from distq.wire.inert import Token
from distq.wire.messages import created, refused, returned, word_of

if TYPE_CHECKING:
    from distq.master.cycle.requests import Cycle
    from distq.net.serve import ServerConnection
    from distq.wire.inert import InertCall

PROTOCOL: Final = 1
BROKER: Final = "broker"
BROKER_METHODS: Final = (
    "admin",
    "before",
    "cancel",
    "exchange",
    "goodbye",
    "heartbeat",
    "hello",
    "results",
    "running",
    "stats",
    "stream",
    "stuck",
    "submit",
    "watch",
)
GETTERS: Final = {
    "get_work_queue": "work",
    "get_task_queue": "work",
    "get_result_queue": "result",
    "get_done_queue": "result",
}
"""The getters' names that recipes use, and the plain queue that each means."""
NOTHING: Final = returned(None)
SESSION_BYTES_MAX: Final = 200
"""Limit of the text by which a peer's session is known; distq's own peers send 32 bytes at most."""
HEARTBEAT_WAIT_MAX_S: Final = 60.0
"""A worker that is kept waiting for longer would not be heard of."""

Stats = Callable[[str], object]
"""Gives what `stats(what)` returns; raises KeyError for a word that it does not know."""


class AdminPeer:
    """A peer that only asks: a command of the CLI."""

    def __init__(self, role: str) -> None:
        self.role = role
        self.copy = BackupCopy()
        """The backup that it fetches."""


class Dispatcher:
    """Answers every call of every peer of one master."""

    def __init__(
        self,
        cycle: Cycle,
        workers: Workers,
        stats: Stats,
        greeting: Mapping[str, object],
        plain_queues: Mapping[str, str],
        turned_away: Callable[[ServerConnection, str], None],
        plain_lease_s: float | None = None,
        keeps_no_proxies: Callable[[str], None] = lambda _peer: None,
    ) -> None:
        self._cycle = cycle
        self._workers = workers
        self._stats = stats
        self._greeting = greeting
        self._turned_away = turned_away
        self._getters = {**GETTERS, **plain_queues}
        self._plain = PlainQueues(cycle, plain_lease_s, keeps_no_proxies)
        self.clients = Clients(cycle, cycle.store.epoch)
        self.streams = Streams(cycle)
        cycle.push = self._push
        cycle.ask_at(cycle.clock.now() + NAMES_KEPT_S / 2, DiscardUnused())
        names = cycle.ledger.registry
        for name in self._getters.values():
            names.queue(name, RESULT if name == "result" else WORK)
        self._queues: dict[str, Queue] = {name: names.queue(name) for name in self._getters.values()}
        self._results = ResultQueues({})
        self.schedules = Schedules(cycle)
        admin = AdminActions(cycle, workers, self.schedules)
        self._broker_calls: dict[str, Callable[[ServerConnection, InertCall], None]] = {
            "admin": lambda connection, call: cycle.ask(admin.request(connection, call.args)),
            "before": self._tell_before,
            "cancel": lambda connection, call: cycle.ask(read_cancel(connection, workers, call.args)),
            "exchange": self._exchange,
            "goodbye": self._goodbye,
            "heartbeat": self._heartbeat,
            "hello": self._hello,
            "results": self._send_results,
            "running": self._tell_running,
            "stuck": self._tell_stuck,
            "stats": self._tell,
            "stream": lambda connection, call: cycle.ask(read_stream(connection, self.streams, call.args)),
            "submit": self._submit,
            "watch": self._watch,
        }
        self._server_calls: dict[str, Callable[[ServerConnection, InertCall], None]] = {
            "accept_connection": _nothing,
            "create": self._create,
            "decref": lambda connection, call: self._count_proxy(connection, call, self._plain.programs.ended),
            "dummy": _nothing,
            "get_methods": self._get_methods,
            "incref": lambda connection, call: self._count_proxy(connection, call, self._plain.programs.begun),
            "number_of_objects": lambda connection, _: connection.reply(returned(len(self._queues) + 1)),
        }

    def _push(self) -> None:
        self.clients.push()
        self.streams.push()

    # -- what the server asks ------------------------------------------------------------------

    def called(self, connection: ServerConnection, call: InertCall) -> None:
        """Answer `call` now or later by exactly one reply."""
        ident = call.ident
        try:
            if ident == BROKER:
                self._offered(self._broker_calls, connection, call)
            elif ident is None:
                self._offered(self._server_calls, connection, call)
            elif (queue := self._queues.get((halves := word_of(ident))[0])) is not None:
                self._plain.called(connection, queue, call, halves[1])
            else:
                connection.reply(refused(f"There is no object {ident!r} here; there is {self._objects()}."))
        except DistqError as exc:
            connection.reply(refused(f"{exc} {exc.hint}".rstrip()))
        except Exception as exc:  # noqa: BLE001 - whatever is in a peer's call ends neither its connection nor us
            connection.reply(refused(f"{call.method}() cannot be answered: {exc!r}."))

    def connection_closed(self, connection: ServerConnection) -> None:
        """A connection has ended."""
        if isinstance(connection.state, PlainPeer):
            self._plain.gone(connection.state)
        elif isinstance(connection.state, ClientSession):
            self.clients.line_closed(connection)
        elif isinstance(connection.state, AdminPeer):
            connection.state.copy.drop()
        else:
            self._workers.line_closed(connection)

    def called_again(self, connection: ServerConnection) -> None:
        """A worker or an executor has more to say: its heartbeat, its exchange need not wait any longer."""
        if isinstance(connection.state, WorkerSession):
            self._workers.answer_beat(connection.state)
        elif isinstance(connection.state, ExecutorHolder):
            self._workers.answer_now(connection.state)

    def rejected(self, connection: ServerConnection, reason: str) -> None:
        """A peer did not prove the key, or there was no room for it."""
        self._turned_away(connection, reason)

    # -- BaseManager's own calls ---------------------------------------------------------------

    def _offered(
        self,
        calls: Mapping[str, Callable[[ServerConnection, InertCall], None]],
        connection: ServerConnection,
        call: InertCall,
    ) -> None:
        answer = calls.get(call.method)
        if answer is None:
            connection.reply(refused(f"{call.method}() is not offered here; there is {', '.join(sorted(calls))}."))
        else:
            answer(connection, call)

    def _objects(self) -> str:
        return ", ".join(sorted((*self._queues, BROKER)))

    def _create(self, connection: ServerConnection, call: InertCall) -> None:
        getter = call.args[0] if call.args else call.kwds.get("typeid")
        if getter == "get_broker":
            connection.reply(returned((BROKER, BROKER_METHODS)))
        elif isinstance(getter, str) and getter in self._getters:
            connection.reply(created(self._getters[getter], METHODS))
        else:
            known = ", ".join(sorted(self._getters))
            connection.reply(
                refused(f"There is no {getter!r} here; there is {known}. More are named in DISTQ_PLAIN_QUEUES.")
            )

    def _get_methods(self, connection: ServerConnection, call: InertCall) -> None:
        token = call.args[0] if call.args else None
        ident = token.ident if isinstance(token, Token) else token
        connection.reply(returned(set(BROKER_METHODS if ident == BROKER else METHODS)))

    def _count_proxy(self, connection: ServerConnection, call: InertCall, count: Callable[[str], None]) -> None:
        ident = call.args[0] if call.args else None
        if isinstance(ident, str) and (caller := word_of(ident)[1]):
            count(caller)
        connection.reply(NOTHING)

    # -- the broker object ---------------------------------------------------------------------

    def _hello(self, connection: ServerConnection, call: InertCall) -> None:
        info = call.args[0] if call.args else None
        if not isinstance(info, dict):
            connection.reply(refused("hello() takes a dict that says role, protocol, version and session."))
            return
        if connection.state is not None:
            connection.reply(refused("hello() comes first on a connection, and once."))
            return
        low, high = _range(info.get("protocol"))
        if not low <= PROTOCOL <= high:
            connection.reply(
                refused(
                    f"This master ({__version__}) speaks protocol {PROTOCOL}, you ({shown(info.get('version'))}) speak "
                    f"{shown(low)} to {shown(high)}. Upgrade the older of the two."
                )
            )
            return
        role, key = info.get("role"), info.get("session")
        if role in ("worker", "executor", "client"):
            try:
                key = text("session", key, SESSION_BYTES_MAX)
            except (TypeError, ValueError) as exc:
                connection.reply(refused(f"hello() of a {role} needs its session: {exc}."))
                return
            self._admit(connection, role, key, info)
        elif role == "cli":
            connection.state = AdminPeer(role)
        else:
            connection.reply(
                refused(f"hello() of an unknown role {shown(role)}; there is worker, executor, client, cli.")
            )
            return
        connection.reply(
            returned({**self._greeting, "protocol": PROTOCOL, "now": self._cycle.clock.now(), "goodbye": True})
        )

    def _admit(self, connection: ServerConnection, role: str, key: str, info: Mapping[str, Any]) -> None:
        if role == "client":
            self.clients.connect(connection, key)
            return
        session = self._workers.session(key)
        if role == "worker":
            session.introduce(info, queues_of(self._cycle, info.get("queues")))
            session.connection = connection
            connection.state = session
            self._workers.introduced(session, _numbers(info.get("holds"), 3))
        else:
            holds = _numbers(info.get("holds"), 2)
            executor = self._workers.executor(session, count_of(info.get("index")), connection, holds)
            executor.reads_states = info.get("states") is True
            executor.executor_slots = max(count_of(info.get("seats")), 1)
            connection.state = executor

    def _exchange(self, connection: ServerConnection, call: InertCall) -> None:
        executor = connection.state
        if not isinstance(executor, ExecutorHolder):
            connection.reply(refused("exchange() is for executors: call hello() with role executor first."))
            return
        settled, want, wait_s = read_exchange(call.args)
        executor = connection.state = self._workers.current(executor, connection)
        request = ExchangeCall(connection, executor, settled, want, wait_s, self._results)
        executor.request = request
        self._cycle.ask(request)

    def _tell_before(self, connection: ServerConnection, call: InertCall) -> None:
        if not isinstance(connection.state, ExecutorHolder):
            connection.reply(refused("before() is for executors: call hello() with role executor first."))
            return
        self._cycle.ask(read_upstream(connection, call.args))

    def _submit(self, connection: ServerConnection, call: InertCall) -> None:
        session = self.clients.current(connection)
        if session is None:
            connection.reply(refused("submit() is for clients: call hello() with role client first."))
            return
        number, runs, bodies, wait_s = read_submit(self._cycle.ledger.registry, call.args, session.seen_at)
        request = SubmitTasks(connection, session, number, runs, bodies)
        request.until = session.seen_at + wait_s
        self._cycle.ask(request)

    def _send_results(self, connection: ServerConnection, call: InertCall) -> None:
        session = self.clients.current(connection)
        good = len(call.args) == 2 and type(call.args[0]) is int and is_duration(call.args[1])
        if session is None or not good:
            connection.reply(refused("results(number, wait_s) is for clients: call hello() with role client first."))
            return
        number, wait_s = call.args
        self._cycle.ask(SendResults(connection, session, number, min(wait_s, WAIT_MAX_S)))

    def _watch(self, connection: ServerConnection, call: InertCall) -> None:
        session = self.clients.current(connection)
        if session is None:
            connection.reply(refused("watch() is for clients: call hello() with role client first."))
            return
        self._cycle.ask(WatchTasks(connection, session, read_watch(call.args)))

    def _goodbye(self, connection: ServerConnection, _: InertCall) -> None:
        if isinstance(connection.state, ClientSession):
            self._cycle.ask(Goodbye(connection, self.clients, connection.state))
        else:
            connection.reply(refused("goodbye() is for clients: call hello() with role client first."))

    def _tell_running(self, connection: ServerConnection, call: InertCall) -> None:
        keys = read_watch(call.args, "running")
        tasks = self._cycle.ledger.state.tasks
        connection.reply(
            returned([key for key in keys if (task := tasks.get(key)) is not None and task.state == LEASED])
        )

    def _tell_stuck(self, connection: ServerConnection, call: InertCall) -> None:
        connection.reply(returned(stuck(self._cycle, self._workers, read_watch(call.args, "stuck"))))

    def _heartbeat(self, connection: ServerConnection, call: InertCall) -> None:
        session = connection.state
        if not isinstance(session, WorkerSession) or self._workers.sessions.get(session.key) is not session:
            connection.reply(refused("heartbeat() of a session that has ended: call hello() with role worker again."))
            return
        report, wait_s = (*call.args, None, None)[:2]
        self._workers.heard(session, report if isinstance(report, dict) else {})
        self._workers.beat(
            session, connection, min(float(wait_s), HEARTBEAT_WAIT_MAX_S) if is_duration(wait_s) else 0.0
        )

    def _tell(self, connection: ServerConnection, call: InertCall) -> None:
        what = call.args[0] if call.args else "overview"
        try:
            connection.reply(returned(self._stats(str(what))))
        except KeyError:
            connection.reply(refused(f"There are no stats {shown(what)}; there is overview, queues, workers."))


def _nothing(connection: ServerConnection, _: InertCall) -> None:
    connection.reply(NOTHING)


def _range(protocol: object) -> tuple[int, int]:
    if isinstance(protocol, list | tuple) and len(protocol) == 2 and all(isinstance(one, int) for one in protocol):
        return protocol[0], protocol[1]
    return 0, 0


def _numbers(said: object, count: int) -> list[Any]:
    """Those of a peer's entries that are so many numbers."""
    rows = said if isinstance(said, list | tuple) else ()
    right = (row for row in rows if isinstance(row, list | tuple) and len(row) == count)
    return [tuple(row) for row in right if all(isinstance(one, int) for one in row)]
