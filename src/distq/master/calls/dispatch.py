"""Dispatches the calls of peers to the code that answers them.

After the handshake the master answers every call. It refuses a call that it does not know or does not offer, such
as the `shutdown` of BaseManager's servers, with a sentence, and never by closing the connection.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from distq.core.errors import DistqError
from distq.core.queue import RESULT, WORK, Queue
from distq.core.ranges import is_duration, shown
from distq.core.states import LEASED
from distq.core.task import Task
from distq.master.admin.actions import AdminActions
from distq.master.admin.backups import BackupCopy
from distq.master.admin.cancels import read_cancel
from distq.master.admin.inspection import stuck
from distq.master.admin.schedules import Schedules
from distq.master.calls.dependencies import read_upstream
from distq.master.calls.exchange import ExchangeCall, ResultQueues, queues_of
from distq.master.calls.gate import Gate
from distq.master.calls.http_admin import HttpAdmin
from distq.master.calls.http_tasks import HttpTasks
from distq.master.calls.plain import METHODS, PlainQueues
from distq.master.calls.plain_peer import PlainPeer
from distq.master.calls.streams import Streams, read_stream
from distq.master.calls.submit import SubmitTasks
from distq.master.cycle.housekeeping import NAMES_KEPT_S, DiscardUnused
from distq.master.cycle.requests import WAIT_MAX_S
from distq.master.sessions.clients import Clients, ClientSession, Goodbye, SendResults
from distq.master.sessions.watched_tasks import WatchTasks, read_watch
from distq.master.sessions.worker_session import ExecutorHolder, WorkerSession
from distq.master.sessions.workers import Workers
from distq.protocol import methods
from distq.protocol.exchange import read_exchange
from distq.protocol.heartbeat import read_report
from distq.protocol.hello import (
    CLI,
    CLIENT,
    WORKER,
    Greeting,
    Hello,
    read_executor_hello,
    read_hello,
    read_worker_hello,
    write_greeting,
)
from distq.protocol.submit import read_submit
from distq.wire.inert import Token
from distq.wire.messages import created, object_of, refused, returned

if TYPE_CHECKING:
    from distq.master.cycle.requests import Cycle
    from distq.net.serve import ServerConnection
    from distq.wire.inert import InertCall

GETTERS: Final = {
    "get_work_queue": "work",
    "get_task_queue": "work",
    "get_result_queue": "result",
    "get_done_queue": "result",
}
"""The getters' names that recipes use, and the plain queue that each means."""
NOTHING: Final = returned(None)
HEARTBEAT_WAIT_MAX_S: Final = 60.0
"""Maximum seconds that a heartbeat waits for its reply; in a longer wait the master has no report of the worker."""

Stats = Callable[[str, str | None], object]
"""Gives what `stats(what, after)` returns; raises KeyError for a word that it does not know."""


class AdminPeer:
    """A connection of the command line, which holds no task."""

    def __init__(self, role: str) -> None:
        self.role = role
        self.copy = BackupCopy()
        """The backup that the command fetches."""


class Dispatcher:
    """Answers every call of every peer of one master."""

    def __init__(
        self,
        cycle: Cycle,
        workers: Workers,
        stats: Stats,
        greeting: Greeting,
        plain_queues: Mapping[str, str],
        note_refusal: Callable[[ServerConnection, str], None],
        plain_lease_s: float | None = None,
        keeps_no_proxies: Callable[[str], None] = lambda _peer: None,
    ) -> None:
        self._cycle = cycle
        self._workers = workers
        self._stats = stats
        self._greeting = greeting
        self._note_refusal = note_refusal
        self._getters = {**GETTERS, **plain_queues}
        self._plain = PlainQueues(cycle, plain_lease_s, keeps_no_proxies)
        self.clients = Clients(cycle, cycle.store.epoch)
        self.streams = Streams(cycle)
        self.http_tasks = HttpTasks(cycle, workers)
        cycle.push = self._push
        cycle.ask_at(cycle.clock.now() + NAMES_KEPT_S / 2, DiscardUnused())
        registry = cycle.ledger.registry
        for name in self._getters.values():
            registry.queue(name, RESULT if name == "result" else WORK)
        self._queues: dict[str, Queue[Task]] = {name: registry.queue(name) for name in self._getters.values()}
        self._results = ResultQueues({})
        self.schedules = Schedules(cycle)
        self.gate = Gate(cycle, workers.sessions, self.schedules.known)
        self.admin = admin = AdminActions(cycle, workers, self.schedules)
        self.http_admin = HttpAdmin(cycle, admin, self.gate)
        self._broker_calls: dict[str, Callable[[ServerConnection, InertCall], None]] = {
            methods.ADMIN: lambda connection, call: cycle.ask(admin.request(connection, call.args)),
            methods.BEFORE: self._send_upstream,
            methods.CANCEL: lambda connection, call: cycle.ask(read_cancel(connection, call.args)),
            methods.EXCHANGE: self._exchange,
            methods.GOODBYE: self._goodbye,
            methods.HEARTBEAT: self._heartbeat,
            methods.HELLO: self._hello,
            methods.RESULTS: self._send_results,
            methods.RUNNING: self._send_running,
            methods.STUCK: self._send_stuck,
            methods.STATS: self._send_stats,
            methods.STREAM: lambda connection, call: cycle.ask(read_stream(connection, self.streams, call.args)),
            methods.SUBMIT: self._submit,
            methods.WATCH: self._watch,
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
        self.http_tasks.push()  # first: the clients' push empties what all owners have received
        self.clients.push()
        self.streams.push()

    # -- called by the server ------------------------------------------------------------------

    def called(self, connection: ServerConnection, call: InertCall) -> None:
        """Answer `call` now or later by exactly one reply."""
        ident = call.ident
        try:
            if ident == methods.BROKER:
                if call.method not in connection.authority.broker_calls:
                    self.gate.check_broker(connection.authority, call)
                self._answer_method(self._broker_calls, connection, call)
            elif ident is None:
                self.gate.check_server(connection.authority, call)
                self._answer_method(self._server_calls, connection, call)
            elif (queue := self._queues.get((halves := object_of(ident))[0])) is not None:
                self.gate.check_plain(connection.authority, queue, call)
                self._plain.called(connection, queue, call, halves[1])
            else:
                connection.reply(refused(f"The master has no object {ident!r}; its objects are {self._objects()}."))
        except DistqError as exc:
            connection.reply(refused(f"{exc} {exc.hint}".rstrip()))
        except Exception as exc:  # noqa: BLE001 - whatever is in a peer's call ends neither its connection nor us
            connection.reply(refused(f"{call.method}() cannot be answered: {exc!r}."))

    def connection_closed(self, connection: ServerConnection) -> None:
        """Release what the peer of an ended connection holds."""
        if connection.state is None:  # a standard-library program's connection for one call of the server
            return
        if isinstance(connection.state, PlainPeer):
            self._plain.gone(connection.state)
        elif isinstance(connection.state, ClientSession):
            self.clients.connection_closed(connection)
        elif isinstance(connection.state, AdminPeer):
            connection.state.copy.drop()
        else:
            self._workers.connection_closed(connection)

    def called_again(self, connection: ServerConnection) -> None:
        """Answer the waiting heartbeat or exchange of a worker or an executor, which has sent a further call."""
        if isinstance(connection.state, WorkerSession):
            connection.state.answer_beat(self._cycle)
        elif isinstance(connection.state, ExecutorHolder):
            self._workers.answer_now(connection.state)

    def connection_refused(self, connection: ServerConnection, reason: str) -> None:
        """Note that the server closed a connection: the peer did not prove the key, or the server had no room."""
        self._note_refusal(connection, reason)

    # -- BaseManager's own calls ---------------------------------------------------------------

    def _answer_method(
        self,
        calls: Mapping[str, Callable[[ServerConnection, InertCall], None]],
        connection: ServerConnection,
        call: InertCall,
    ) -> None:
        answer = calls.get(call.method)
        if answer is None:
            connection.reply(
                refused(f"{call.method}() is not offered here; the methods are {', '.join(sorted(calls))}.")
            )
        else:
            answer(connection, call)

    def _objects(self) -> str:
        return ", ".join(sorted((*self._queues, methods.BROKER)))

    def _create(self, connection: ServerConnection, call: InertCall) -> None:
        getter = call.args[0] if call.args else call.kwds.get("typeid")
        if getter == methods.GET_BROKER:
            connection.reply(returned((methods.BROKER, methods.METHODS)))
        elif isinstance(getter, str) and getter in self._getters:
            connection.reply(created(self._getters[getter], METHODS))
        else:
            known = ", ".join(sorted(self._getters))
            connection.reply(
                refused(f"There is no getter {getter!r} here; there are {known}. DISTQ_PLAIN_QUEUES adds others.")
            )

    def _get_methods(self, connection: ServerConnection, call: InertCall) -> None:
        token = call.args[0] if call.args else None
        ident = token.ident if isinstance(token, Token) else token
        connection.reply(returned(set(methods.METHODS if ident == methods.BROKER else METHODS)))

    def _count_proxy(self, connection: ServerConnection, call: InertCall, count: Callable[[str], None]) -> None:
        ident = call.args[0] if call.args else None
        if isinstance(ident, str) and (caller := object_of(ident)[1]):
            count(caller)
        connection.reply(NOTHING)

    # -- the broker object ---------------------------------------------------------------------

    def _hello(self, connection: ServerConnection, call: InertCall) -> None:
        info = call.args[0] if call.args else None
        if not isinstance(info, dict):
            connection.reply(refused("hello() takes a dict with role, protocol, version and session."))
            return
        if connection.state is not None:
            connection.reply(refused("hello() is the first call on a connection and is called once."))
            return
        self._admit(connection, read_hello(info), info)
        greeting, session = self._greeting, connection.state
        if isinstance(session, ClientSession):
            greeting = greeting._replace(backlog=session.backlog_id)
        connection.reply(returned(write_greeting(greeting, self._cycle.clock.now())))

    def _admit(self, connection: ServerConnection, hello: Hello, info: Mapping[str, Any]) -> None:
        connection.reads_split = hello.reads_split
        if hello.role == CLI:
            connection.state = AdminPeer(hello.role)
        elif hello.role == CLIENT:
            self.clients.connect(connection, hello.session)
        elif hello.role == WORKER:
            session, worker = self._workers.session(hello.session), read_worker_hello(info)
            session.introduce(hello, worker, queues_of(self._cycle, worker.queues))
            session.connection = connection
            connection.state = session
            self._workers.introduced(session, worker.holds)
        else:
            session, executor_hello = self._workers.session(hello.session), read_executor_hello(info)
            executor = self._workers.executor(session, executor_hello.number, connection, executor_hello.holds)
            executor.reads_states = executor_hello.reads_states
            executor.executor_slots = executor_hello.slots
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

    def _send_upstream(self, connection: ServerConnection, call: InertCall) -> None:
        if not isinstance(connection.state, ExecutorHolder):
            connection.reply(refused("before() is for executors: call hello() with role executor first."))
            return
        self._cycle.ask(read_upstream(connection, call.args))

    def _submit(self, connection: ServerConnection, call: InertCall) -> None:
        session = self.clients.current(connection)
        if session is None:
            connection.reply(refused("submit() is for clients: call hello() with role client first."))
            return
        number, entries, bodies, wait_s = read_submit(
            self._cycle.ledger.registry, call.args, session.seen_at, connection.authority.name
        )
        request = SubmitTasks(connection, session, number, entries, bodies)
        request.until_at = session.seen_at + wait_s
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

    def _send_running(self, connection: ServerConnection, call: InertCall) -> None:
        task_keys = read_watch(call.args, "running")
        tasks = self._cycle.ledger.state.tasks
        connection.reply(
            returned(
                [
                    task_key
                    for task_key in task_keys
                    if (task := tasks.get(task_key)) is not None and task.state == LEASED
                ]
            )
        )

    def _send_stuck(self, connection: ServerConnection, call: InertCall) -> None:
        connection.reply(returned(stuck(self._cycle, self._workers, read_watch(call.args, "stuck"))))

    def _heartbeat(self, connection: ServerConnection, call: InertCall) -> None:
        session = connection.state
        if not isinstance(session, WorkerSession) or self._workers.sessions.get(session.key) is not session:
            connection.reply(refused("heartbeat() of a session that has ended: call hello() with role worker again."))
            return
        report, wait_s = (*call.args, None, None)[:2]
        self._workers.note_report(session, read_report(report))
        self._workers.beat(
            session, connection, min(float(wait_s), HEARTBEAT_WAIT_MAX_S) if is_duration(wait_s) else 0.0
        )

    def _send_stats(self, connection: ServerConnection, call: InertCall) -> None:
        what, after = (*call.args, None)[:2] if call.args else ("overview", None)
        try:
            connection.reply(returned(self._stats(str(what), after if isinstance(after, str) else None)))
        except KeyError:
            connection.reply(refused(f"stats() takes overview, queues or workers, not {shown(what)}."))


def _nothing(connection: ServerConnection, _: InertCall) -> None:
    connection.reply(NOTHING)
