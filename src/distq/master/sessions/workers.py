"""Worker sessions: who is connected, with which executors, and until when their leases hold.

A supervisor's heartbeat renews the leases of all its executors at once, so that a task costs no timer. A socket
that closes is only a hint: while the supervisor is there, it says how an executor has ended. Only when the
supervisor's socket is closed too do leases end, after a second in which both may come back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

from distq.core.ranges import KEY_MAX, count_of
from distq.core.task import CANCELLED, DEAD, EXPIRED, LABELS_MAX, NO_LABELS, PLAIN, Holder
from distq.master.cycle.requests import LEASE, LeaseRequest, LoseLeases, Request
from distq.master.sessions.executor_ends import EndOverrun, ReturnLeases
from distq.master.sessions.heartbeat import Heartbeat
from distq.master.sessions.placement import may_take
from distq.master.sessions.timeouts import DISCONNECT_GRACE_S, DisconnectTimeout, LeaseTimeout
from distq.master.sessions.unknown_names import UnknownNames

if TYPE_CHECKING:
    from distq.core.queue import Queue
    from distq.master.cycle.requests import Cycle
    from distq.net.serve import ServerConnection

TIMEOUT: Final = "timeout"
GIVEN_UP: Final = (CANCELLED, DEAD, EXPIRED)
"""States of tasks that no worker needs to run any more."""
NAME_CHARS_MAX: Final = 100
HANDED_BACK_MAX: Final = 1_000
"""Maximum names kept of tasks that workers did not know; older names are forgotten first."""


class ExecutorHolder(Holder):
    """One process of a worker that runs tasks, with its own connection."""

    __slots__ = ("connection", "ended", "index", "reads_states", "request", "session")

    def __init__(self, session: WorkerSession, index: int) -> None:
        super().__init__(f"{session.name}/{index}", session)
        self.session = session
        self.index = index
        self.connection: ServerConnection | None = None
        self.request: Request | None = None
        """Its exchange that is being answered, which may be parked."""
        self.ended = False
        """Whether the supervisor has said that its process has ended."""
        self.reads_states = False
        """Whether it can be told in which state each task before one has ended."""

    @property
    def labels(self) -> frozenset[str]:
        """Those of its worker."""
        return self.session.labels

    @property
    def pool(self) -> str:
        """That of its worker."""
        return self.session.pool

    @property
    def slots(self) -> int:
        """Those of its worker."""
        return self.session.slots

    @property
    def taken(self) -> int:
        """How many of its worker's slots are taken by what it holds."""
        costs = (task.envelope.cost for task in self.held.values())
        return max(costs, default=0) if self.executor_slots == 1 else sum(costs)

    def room(self) -> int:
        """How many of its worker's slots are free for it to take."""
        return self.session.slots - self.session.taken


class WorkerSession:
    """One worker, from its first `hello` to the end of its leases."""

    def __init__(self, key: str, lease_until: float) -> None:
        self.key = key
        self.lease_until = lease_until
        self.connection: ServerConnection | None = None
        self.executors: dict[int, ExecutorHolder] = {}
        self.name = key
        self.pool = "default"
        self.host = ""
        self.version = ""
        self.slots = 0
        self.busy = 0
        self.queues: tuple[Queue, ...] | None = None
        """The queues that it serves, None for all."""
        self.plain = False
        self.tasks = False
        self.labels: frozenset[str] = NO_LABELS
        """What it has that tasks may require."""
        self.unknown = UnknownNames()
        """Names of tasks that it has handed back for want of such a function, until they are tried again."""
        self.draining = False
        self.beat: Heartbeat | None = None
        """The heartbeat that waits for something to say to the worker."""
        self.stops: list[tuple[int, int]] = []
        """Tasks, by key and delivery, that it shall stop and was not told of yet."""
        self.stacks: list[tuple[int, int]] = []
        """Tasks, as those, of which it shall say where they are."""
        self.pid = 0
        self.python = ""
        self.connected_at = lease_until
        self.seen_at = lease_until
        self.memory_bytes: int | None = None
        self.memory_limit_bytes: int | None = None

    def stop(self, broker: Cycle, key: int, delivery: int) -> None:
        """Have the worker stop a task that it runs, or has not begun yet."""
        self.stops.append((key, delivery))
        self.answer_beat(broker)

    def answer_beat(self, broker: Cycle) -> None:
        """Let no heartbeat wait any longer."""
        beat, self.beat = self.beat, None
        if beat is not None:
            broker.forget(beat)
            beat.say()

    @property
    def taken(self) -> int:
        """How many of its slots are taken."""
        return sum(executor.taken for executor in self.executors.values())

    @property
    def open_slots(self) -> int:
        """How many of its slots have an executor that is there: not one that ends, or has not come up."""
        return sum(
            executor.executor_slots for executor in self.executors.values() if executor.connection or executor.held
        )

    def wanted(self, name: str) -> bool:
        """Whether it runs tasks of this name, and takes any now."""
        if self.draining:
            return False
        return self.plain if name == PLAIN else self.tasks and name not in self.unknown

    def introduce(self, info: Mapping[str, Any], queues: tuple[Queue, ...] | None) -> None:
        """Take over what a `hello` says of the worker."""
        self.name = _text(info.get("name")) or self.key
        self.pool = _text(info.get("pool")) or "default"
        self.host = _text(info.get("host"))
        self.version = _text(info.get("version"))
        self.python = _text(info.get("python"))
        self.pid = count_of(info.get("pid"))
        self.slots = count_of(info.get("slots"))
        self.plain = bool(info.get("plain"))
        self.tasks = bool(info.get("tasks"))
        self.queues = queues
        labels = info.get("labels")
        self.labels = frozenset(_text(one) for one in (labels if isinstance(labels, list | tuple) else ())[:LABELS_MAX])


class Workers:
    """All worker sessions."""

    def __init__(self, broker: Cycle, lease_s: float) -> None:
        self.sessions: dict[str, WorkerSession] = {}
        self.handed_back: dict[str, None] = {}
        """Names of tasks that workers which have gone did not know, oldest first."""
        self._broker = broker
        self._lease_s = lease_s
        broker.ledger.registry.eligibility.may_take = lambda queue, lane: may_take(self.sessions.values(), queue, lane)
        self._stack_waits: dict[tuple[int, int], list[Callable[[Cycle, str], None]]] = {}
        """Who waits to be told where a task is, by its key and delivery."""

    def session(self, key: str) -> WorkerSession:
        """The session of that key, made at first use; its leases hold from now."""
        now = self._broker.clock.now()
        session = self.sessions.get(key)
        if session is None:
            session = self.sessions[key] = WorkerSession(key, now + self._lease_s)
            self._broker.ask_at(session.lease_until, LeaseTimeout(self, session))
            session.connected_at = now
        session.lease_until = now + self._lease_s
        session.seen_at = now
        return session

    def executor(
        self, session: WorkerSession, index: int, connection: ServerConnection, holds: Iterable[tuple[int, int]]
    ) -> ExecutorHolder:
        """An executor has come (back); it goes on with those of the leases that it holds which have not ended."""
        executor = session.executors.get(index)
        if executor is None:
            executor = session.executors[index] = ExecutorHolder(session, index)
        if executor.request is not None:
            self._broker.forget(executor.request)
            executor.request = None
        if executor.connection is not None and executor.connection is not connection:
            executor.connection.abort()  # the connection that it has given up; we have not heard of its end yet
        held = dict(holds)
        stale = Holder(executor.label)
        for key, task in list(executor.held.items()):
            if held.get(key) != task.delivery:
                # It was leased in a reply that never arrived: nobody runs it.
                del executor.held[key]
                stale.held[key] = task
                task.holder = stale
        if stale.held:
            self._broker.ask(LoseLeases(stale, "connection", "its connection was lost", running=0))
        self._broker.ledger.orphaned_runs.holder_ended(executor, held.items())
        for key, delivery in held.items():
            self._reclaim(executor, key, delivery)
        executor.connection = connection
        return executor

    def _reclaim(self, executor: ExecutorHolder, key: int, delivery: int) -> None:
        ledger = self._broker.ledger
        if ledger.reclaim(executor, key, delivery):
            task = executor.held[key]
            if task.body is None:
                self._broker.fetch(task)  # it may have to be buried with it
        elif (known := ledger.tasks.get(key)) is not None and (known.lease_bound or known.state in GIVEN_UP):
            # It was ended while its worker was away: if it runs, it shall stop, and keeps its place until then.
            if known.lease_bound:
                ledger.orphaned_runs.reassign(key, delivery, executor)
            executor.session.stops.append((key, delivery))

    def current(self, executor: ExecutorHolder, connection: ServerConnection) -> ExecutorHolder:
        """The executor itself, or its successor if its session was ended for silence while it lived on.

        One that is not served on `line` any more (its end was reported, it has come back elsewhere) stays who it
        is: it may still settle.
        """
        session = executor.session
        if executor.ended or self.sessions.get(session.key) is session:
            return executor
        session = self.session(session.key)
        if executor.index in session.executors:
            return executor
        successor = self.executor(session, executor.index, connection, ())
        successor.executor_slots, successor.reads_states = executor.executor_slots, executor.reads_states
        return successor

    def introduced(self, session: WorkerSession, holds: Iterable[tuple[int, int, int]]) -> None:
        """What a worker serves is known now, and what its executors hold, by index, key and delivery.

        Executors that came first wait for that. One that runs something comes when it has: so long we know of it.
        """
        for index, key, delivery in holds:
            executor = session.executors.setdefault(index, ExecutorHolder(session, index))
            self._reclaim(executor, key, delivery)
            if executor.connection is None and not self._broker.ledger.holds(executor):
                del session.executors[index]
        self._broker.ledger.readmit()
        for executor in session.executors.values():
            request = executor.request
            if request is not None and request.parked:
                self._broker.forget(request)
                self._broker.ask(request)

    def heard(self, session: WorkerSession, report: Mapping[str, Any]) -> None:
        """A heartbeat renews the leases and says how executors have ended."""
        session.seen_at = self._broker.clock.now()
        session.lease_until = session.seen_at + self._lease_s
        session.busy = count_of(report.get("busy"))
        slots, session.slots = session.slots, count_of(report.get("slots")) or session.slots
        if session.slots > slots:
            self._broker.ledger.readmit()
        if report.get("draining") and not session.draining:
            session.draining = True
            for executor in session.executors.values():
                self.answer_now(executor)
        session.memory_bytes = count_of(report.get("memory_bytes")) or None
        session.memory_limit_bytes = count_of(report.get("memory_limit_bytes")) or None
        returned = report.get("returned")
        if isinstance(returned, list | tuple) and returned:
            self._broker.ask(ReturnLeases(session, returned))
        stacks = report.get("stacks")
        for row in stacks if isinstance(stacks, list | tuple) else ():
            if isinstance(row, list | tuple) and len(row) == 3 and isinstance(row[2], str):
                for say in self._stack_waits.pop((count_of(row[0], KEY_MAX), count_of(row[1])), ()):
                    say(self._broker, row[2])
        exited = report.get("exited")
        for ended in exited if isinstance(exited, list | tuple) else ():
            if isinstance(ended, Mapping):
                self._exited(session, ended)

    def beat(self, session: WorkerSession, connection: ServerConnection, wait_s: float) -> None:
        """Answer a heartbeat: at once if there is something to say, else within `wait_s`, or with the next one."""
        self.answer_beat(session)
        session.beat = beat = Heartbeat(connection, session)
        if session.stops or session.stacks or wait_s <= 0:
            self.answer_beat(session)
        else:
            beat.until = self._broker.clock.now() + wait_s
            self._broker.park_idle(beat)

    def stop(self, session: WorkerSession, key: int, delivery: int) -> None:
        """Have a worker stop a task that it runs, or has not begun yet."""
        session.stop(self._broker, key, delivery)

    def ask_for_stack(self, session: WorkerSession, key: int, delivery: int, say: Callable[[Cycle, str], None]) -> None:
        """Have a worker say where a task is that it runs; `say` is told, if it answers."""
        self._stack_waits.setdefault((key, delivery), []).append(say)
        if (key, delivery) not in session.stacks:
            session.stacks.append((key, delivery))
        self.answer_beat(session)

    def give_up_stack(self, key: int, delivery: int, say: Callable[[Cycle, str], None]) -> None:
        """The worker has not answered in time: `say` waits for it no more."""
        waits = self._stack_waits.get((key, delivery), [])
        if say in waits:
            waits.remove(say)
        if not waits:
            self._stack_waits.pop((key, delivery), None)

    def answer_beat(self, session: WorkerSession) -> None:
        """Let no heartbeat wait any longer."""
        session.answer_beat(self._broker)

    def _exited(self, session: WorkerSession, ended: Mapping[str, Any]) -> None:
        index, running = count_of(ended.get("index")), ended.get("running")
        key, delivery = next(_pairs([running]), (0, 0))
        begun = dict(_pairs(ended.get("begun")))
        executor = session.executors.pop(index, None)
        if executor is None:  # of before a restart, or of a session that was given up: what it ran is lost with it
            executor = ExecutorHolder(session, index)
            for one in ((key, delivery), *begun.items()):
                self._reclaim(executor, *one)
        executor.ended = True
        self._unserve(executor)
        cause = _text(ended.get("cause")) or "its executor ended"
        if key and ended.get("kind") == TIMEOUT:
            stack = ended.get("stack")
            self._broker.ask(EndOverrun(executor, cause, key, stack if isinstance(stack, str) else ""))
            return
        lost = None if count_of(ended.get("suspects")) else key
        unexplained = bool(ended.get("unexplained"))
        self._broker.ask(LoseLeases(executor, "executor", cause, lost, begun, unexplained=unexplained))

    def _unserve(self, executor: ExecutorHolder) -> None:
        """Lease nothing more to an executor, although its socket may be open: a child of its task can keep it so."""
        executor.connection = None
        self.answer_now(executor)

    def answer_now(self, executor: ExecutorHolder) -> None:
        """Whatever it waits for will not come."""
        request = executor.request
        if isinstance(request, LeaseRequest) and request.parked:
            self._broker.forget(request)
            request.expire(self._broker, self._broker.clock.now())

    def line_closed(self, connection: ServerConnection) -> None:
        """A worker's or executor's socket has closed: wait a moment for a word or a return."""
        known = connection.state
        at = self._broker.clock.now() + DISCONNECT_GRACE_S
        if isinstance(known, ExecutorHolder) and known.connection is connection:
            known.connection = None
            if known.request is not None:
                self._broker.forget(known.request)
                known.request = None
            self._broker.ask_at(at, DisconnectTimeout(self, known.session, known))
        elif isinstance(known, WorkerSession) and known.connection is connection:
            known.connection = None
            if known.beat is not None:
                self._broker.forget(known.beat)
                known.beat = None
            self._broker.ask_at(at, DisconnectTimeout(self, known, None))

    def detach(self, session: WorkerSession, reason: str, cause: str) -> None:
        """End a session and its leases."""
        self.sessions.pop(session.key, None)
        self.handed_back.update(dict.fromkeys(session.unknown))
        while len(self.handed_back) > HANDED_BACK_MAX:
            del self.handed_back[next(iter(self.handed_back))]
        session.unknown.end()
        self.answer_beat(session)
        for executor in session.executors.values():
            self._unserve(executor)
            self.lose(executor, reason, cause)
        session.executors.clear()

    def lose(self, executor: ExecutorHolder, reason: str, cause: str) -> None:
        """Nobody hears of an executor any more: its leases end, but the fenced ones last as long as was said."""
        ledger, until = self._broker.ledger, executor.session.lease_until
        if reason != LEASE and ledger.holds(fenced := ledger.detach_holder(executor)):
            self._broker.ask_at(until, LoseLeases(fenced, reason, cause))
        if ledger.holds(executor):
            self._broker.ask(LoseLeases(executor, reason, cause))


def _pairs(said: object) -> Iterator[tuple[int, int]]:
    """The tasks, each with its delivery, that a worker names; whatever else stands there is left out."""
    for pair in said if isinstance(said, list | tuple) else ():
        if isinstance(pair, list | tuple) and len(pair) == 2:
            yield count_of(pair[0], KEY_MAX), count_of(pair[1])


def _text(value: object) -> str:
    """A short text that every log and every page can carry: no halves of surrogate pairs."""
    return value[:NAME_CHARS_MAX].encode(errors="replace").decode() if isinstance(value, str) else ""
