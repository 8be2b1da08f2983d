"""Worker sessions: who is connected, with which executors, and until when their leases hold.

A supervisor's heartbeat renews the leases of all its executors at once, so that a task costs no timer. A socket
that closes is only a hint: while the supervisor is there, it says how an executor has ended. Only when the
supervisor's socket is closed too do leases end, after a second in which both may come back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

from distq.core.outcome import Outcome
from distq.core.ranges import KEY_MAX, count_of
from distq.core.states import CANCELLED, DEAD, EXPIRED
from distq.core.task import Holder
from distq.master.cycle.requests import LEASE, LeaseRequest, LoseLeases, Request
from distq.master.sessions.timeouts import DISCONNECT_GRACE_S, DisconnectTimeout, LeaseTimeout
from distq.master.sessions.worker_session import ExecutorHolder, Heartbeat, WorkerSession, may_take
from distq.protocol.hello import short_text
from distq.tasks.failure import pack_overrun

if TYPE_CHECKING:
    from distq.master.cycle.requests import Cycle
    from distq.net.serve import ServerConnection

TIMEOUT: Final = "timeout"
GIVEN_UP: Final = (CANCELLED, DEAD, EXPIRED)
"""States of tasks that no worker needs to run any more."""
HANDED_BACK_MAX: Final = 1_000
"""Maximum names kept of tasks that workers did not know; older names are forgotten first."""


class Workers:
    """All worker sessions."""

    def __init__(self, cycle: Cycle, lease_s: float) -> None:
        self.sessions: dict[str, WorkerSession] = {}
        self.handed_back: dict[str, None] = {}
        """Names of tasks that workers which have gone did not know, oldest first."""
        self._cycle = cycle
        self._lease_s = lease_s
        cycle.ledger.registry.eligibility.may_take = lambda queue, lane: may_take(self.sessions.values(), queue, lane)
        self._stack_waits: dict[tuple[int, int], list[Callable[[Cycle, str], None]]] = {}
        """Who waits to be told where a task is, by its key and delivery."""

    def session(self, key: str) -> WorkerSession:
        """The session of that key, made at first use; its leases hold from now."""
        now = self._cycle.clock.now()
        session = self.sessions.get(key)
        if session is None:
            session = self.sessions[key] = WorkerSession(key, now + self._lease_s)
            self._cycle.ask_at(session.lease_until, LeaseTimeout(self, session))
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
            self._cycle.forget(executor.request)
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
            self._cycle.ask(LoseLeases(stale, "connection", "its connection was lost", running=0))
        self._cycle.ledger.state.orphaned_runs.holder_ended(executor, held.items())
        for key, delivery in held.items():
            self._reclaim(executor, key, delivery)
        executor.connection = connection
        return executor

    def _reclaim(self, executor: ExecutorHolder, key: int, delivery: int) -> None:
        ledger = self._cycle.ledger
        if ledger.reclaim(executor, key, delivery):
            task = executor.held[key]
            if task.body is None:
                self._cycle.fetch(task)  # it may have to be buried with it
        elif (known := ledger.state.tasks.get(key)) is not None and (known.lease_bound or known.state in GIVEN_UP):
            # It was ended while its worker was away: if it runs, it shall stop, and keeps its place until then.
            if known.lease_bound:
                ledger.state.orphaned_runs.reassign(key, delivery, executor)
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
            if executor.connection is None and not self._cycle.ledger.holds(executor):
                del session.executors[index]
        self._cycle.ledger.leasing.readmit()
        for executor in session.executors.values():
            request = executor.request
            if request is not None and request.parked:
                self._cycle.forget(request)
                self._cycle.ask(request)

    def heard(self, session: WorkerSession, report: Mapping[str, Any]) -> None:
        """A heartbeat renews the leases and says how executors have ended."""
        session.seen_at = self._cycle.clock.now()
        session.lease_until = session.seen_at + self._lease_s
        session.busy = count_of(report.get("busy"))
        slots, session.slots = session.slots, count_of(report.get("slots")) or session.slots
        if session.slots > slots:
            self._cycle.ledger.leasing.readmit()
        if report.get("draining") and not session.draining:
            session.draining = True
            for executor in session.executors.values():
                self.answer_now(executor)
        session.memory_bytes = count_of(report.get("memory_bytes")) or None
        session.memory_limit_bytes = count_of(report.get("memory_limit_bytes")) or None
        returned = report.get("returned")
        if isinstance(returned, list | tuple) and returned:
            self._cycle.ask(ReturnLeases(session, returned))
        stacks = report.get("stacks")
        for row in stacks if isinstance(stacks, list | tuple) else ():
            if isinstance(row, list | tuple) and len(row) == 3 and isinstance(row[2], str):
                for say in self._stack_waits.pop((count_of(row[0], KEY_MAX), count_of(row[1])), ()):
                    say(self._cycle, row[2])
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
            beat.until = self._cycle.clock.now() + wait_s
            self._cycle.park_idle(beat)

    def stop(self, session: WorkerSession, key: int, delivery: int) -> None:
        """Have a worker stop a task that it runs, or has not begun yet."""
        session.stop(self._cycle, key, delivery)

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
        session.answer_beat(self._cycle)

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
        cause = short_text(ended.get("cause")) or "its executor ended"
        if key and ended.get("kind") == TIMEOUT:
            stack = ended.get("stack")
            self._cycle.ask(EndOverrun(executor, cause, key, stack if isinstance(stack, str) else ""))
            return
        lost = None if count_of(ended.get("suspects")) else key
        unexplained = bool(ended.get("unexplained"))
        self._cycle.ask(LoseLeases(executor, "executor", cause, lost, begun, unexplained=unexplained))

    def _unserve(self, executor: ExecutorHolder) -> None:
        """Lease nothing more to an executor, although its socket may be open: a child of its task can keep it so."""
        executor.connection = None
        self.answer_now(executor)

    def answer_now(self, executor: ExecutorHolder) -> None:
        """Whatever it waits for will not come."""
        request = executor.request
        if isinstance(request, LeaseRequest) and request.parked:
            self._cycle.forget(request)
            request.expire(self._cycle, self._cycle.clock.now())

    def line_closed(self, connection: ServerConnection) -> None:
        """A worker's or executor's socket has closed: wait a moment for a word or a return."""
        known = connection.state
        at = self._cycle.clock.now() + DISCONNECT_GRACE_S
        if isinstance(known, ExecutorHolder) and known.connection is connection:
            known.connection = None
            if known.request is not None:
                self._cycle.forget(known.request)
                known.request = None
            self._cycle.ask_at(at, DisconnectTimeout(self, known.session, known))
        elif isinstance(known, WorkerSession) and known.connection is connection:
            known.connection = None
            if known.beat is not None:
                self._cycle.forget(known.beat)
                known.beat = None
            self._cycle.ask_at(at, DisconnectTimeout(self, known, None))

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
        ledger, until = self._cycle.ledger, executor.session.lease_until
        if reason != LEASE and ledger.holds(fenced := ledger.detach_holder(executor)):
            self._cycle.ask_at(until, LoseLeases(fenced, reason, cause))
        if ledger.holds(executor):
            self._cycle.ask(LoseLeases(executor, reason, cause))


def _pairs(said: object) -> Iterator[tuple[int, int]]:
    """The tasks, each with its delivery, that a worker names; whatever else stands there is left out."""
    for pair in said if isinstance(said, list | tuple) else ():
        if isinstance(pair, list | tuple) and len(pair) == 2:
            yield count_of(pair[0], KEY_MAX), count_of(pair[1])


class EndOverrun(LoseLeases):
    """An executor was killed because its task ran beyond its time limit: that attempt has failed."""

    __slots__ = ("key", "stack")

    def __init__(self, holder: Holder, cause: str, key: int, stack: str) -> None:
        super().__init__(holder, "executor", cause, running=0)
        self.key = key
        self.stack = stack

    def decide(self, cycle: Cycle, now: float) -> bool:  # noqa: D102 - as Request
        ledger, task = cycle.ledger, self.holder.held.get(self.key)
        if task is not None:
            limit_s = task.envelope.time_limit_s or 0.0
            body = pack_overrun(self.cause, self.stack)
            ledger.settle(self.key, task.delivery, Outcome.TIMEOUT, body, limit_s, self.cause)
        return super().decide(cycle, now)  # False while that is being applied: then it comes again for the rest


class ReturnLeases(Request):
    """Tasks that an executor has not begun and shall not begin, as its supervisor says."""

    __slots__ = ("before", "deliveries", "session")

    def __init__(self, session: object, deliveries: Iterable[object]) -> None:
        super().__init__()
        self.session = session
        pairs = (pair for pair in deliveries if isinstance(pair, list | tuple) and len(pair) == 2)
        self.deliveries = [(key, delivery) for key, delivery in pairs if type(key) is type(delivery) is int]
        self.before = self.deliveries

    def decide(self, cycle: Cycle, now: float) -> bool:  # noqa: ARG002, D102 - as Request
        ledger, self.before = cycle.ledger, self.deliveries
        left = []
        for key, delivery in self.deliveries:
            task = ledger.state.tasks.get(key)
            if task is None or task.holder is None or task.holder.worker is not self.session:
                continue
            if not ledger.settle(key, delivery, Outcome.RELEASED, None, 0.0):
                left.append((key, delivery))
        self.deliveries = left
        return not left

    def undo(self) -> None:  # noqa: D102
        self.deliveries = self.before
