"""Worker sessions: the connected workers, their executors, and the times until which their leases last.

One heartbeat of a supervisor renews the leases of all its executors, so a task costs no timer. A closed socket ends
no lease by itself: while the supervisor is connected, it reports how an executor has ended. Leases end only when the
supervisor's socket is closed too, after a second in which both may connect again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Final

from distq.core.outcome import Outcome
from distq.core.states import CANCELLED, DEAD, EXPIRED
from distq.core.task import Holder
from distq.master.cycle.requests import LEASE, LeaseRequest, LoseLeases, Request
from distq.master.sessions.timeouts import DISCONNECT_GRACE_S, DisconnectTimeout, LeaseTimeout
from distq.master.sessions.worker_session import ExecutorHolder, Heartbeat, WorkerSession, may_take
from distq.protocol.heartbeat import ExecutorEnd, WorkerReport
from distq.tasks.failure import pack_overrun

if TYPE_CHECKING:
    from distq.core.ports import CommitRefused
    from distq.master.cycle.requests import Cycle
    from distq.net.serve import ServerConnection

TIMEOUT: Final = "timeout"
GIVEN_UP: Final = (CANCELLED, DEAD, EXPIRED)
"""States of tasks that no worker needs to run any more."""
UNKNOWN_NAMES_MAX: Final = 1_000
"""Maximum task names kept in `Workers.unknown_names`, to limit memory; the oldest names are dropped first."""


class Workers:
    """All worker sessions."""

    def __init__(self, cycle: Cycle, lease_s: float) -> None:
        self.sessions: dict[str, WorkerSession] = {}
        self.unknown_names: dict[str, None] = {}
        """Task names that workers of ended sessions did not know, oldest first."""
        self._cycle = cycle
        self._lease_s = lease_s
        cycle.ledger.registry.eligibility.may_take = lambda queue, ready_list: may_take(
            self.sessions.values(), queue, ready_list
        )
        self._stack_waits: dict[tuple[int, int], list[Callable[[Cycle, str], None]]] = {}
        """Callbacks that wait for a task's stack, by its key and delivery."""

    def session(self, key: str) -> WorkerSession:
        """Return the session with that key, created at first use; renew its leases from now."""
        now = self._cycle.clock.now()
        session = self.sessions.get(key)
        if session is None:
            session = self.sessions[key] = WorkerSession(key, now + self._lease_s)
            self._cycle.ask_at(session.lease_until_at, LeaseTimeout(self, session))
            session.connected_at = now
        session.lease_until_at = now + self._lease_s
        session.seen_at = now
        return session

    def executor(
        self, session: WorkerSession, index: int, connection: ServerConnection, holds: Iterable[tuple[int, int]]
    ) -> ExecutorHolder:
        """Note that an executor has connected, perhaps again; it keeps the leases in `holds` that have not ended."""
        executor = session.executors.get(index)
        if executor is None:
            executor = session.executors[index] = ExecutorHolder(session, index)
        if executor.request is not None:
            self._cycle.forget(executor.request)
            executor.request = None
        if executor.connection is not None and executor.connection is not connection:
            executor.connection.abort()  # the executor has left this connection; the master has not seen its end yet
        held = dict(holds)
        stale = Holder(executor.label)
        for task_key, task in list(executor.held.items()):
            if held.get(task_key) != task.delivery:
                # It was leased in a reply that never arrived: no executor runs it.
                del executor.held[task_key]
                stale.held[task_key] = task
                task.holder = stale
        if stale.held:
            self._cycle.ask(LoseLeases(stale, "connection", "its connection was lost", running=0))
        self._cycle.ledger.state.orphaned_runs.holder_ended(executor, held.items())
        for task_key, delivery in held.items():
            self._reclaim(executor, task_key, delivery)
        executor.connection = connection
        return executor

    def _reclaim(self, executor: ExecutorHolder, task_key: int, delivery: int) -> None:
        ledger = self._cycle.ledger
        if ledger.reclaim(executor, task_key, delivery):
            task = executor.held[task_key]
            if task.body is None:
                self._cycle.fetch(task)  # it is needed if the task becomes a dead letter
        elif (known := ledger.state.tasks.get(task_key)) is not None and (known.lease_bound or known.state in GIVEN_UP):
            # The task ended while its worker was away: if it runs, it shall stop, and keeps its place until then.
            if known.lease_bound:
                ledger.state.orphaned_runs.reassign(task_key, delivery, executor)
            executor.session.stops.append((task_key, delivery))

    def current(self, executor: ExecutorHolder, connection: ServerConnection) -> ExecutorHolder:
        """Return the executor, or its successor if its session was ended for silence while the executor lived on.

        An executor that `connection` no longer serves (its end was reported, or it uses another connection) stays the
        same: it may still settle.
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
        """Note that a worker has introduced itself; `holds` has its executors' leases, by index, key and delivery.

        Executors that connected before their worker are answered now. An executor that runs a task connects after
        the task: the master keeps it until then.
        """
        for index, task_key, delivery in holds:
            executor = session.executors.setdefault(index, ExecutorHolder(session, index))
            self._reclaim(executor, task_key, delivery)
            if executor.connection is None and not self._cycle.ledger.holds(executor):
                del session.executors[index]
        self._cycle.ledger.leasing.readmit()
        for executor in session.executors.values():
            request = executor.request
            if request is not None and request.parked:
                self._cycle.forget(request)
                self._cycle.ask(request)

    def note_report(self, session: WorkerSession, report: WorkerReport) -> None:
        """Note the report of a heartbeat: renew the worker's leases, and note how its executors have ended."""
        session.seen_at = self._cycle.clock.now()
        session.lease_until_at = session.seen_at + self._lease_s
        session.busy = report.busy
        slots, session.slots = session.slots, report.slots or session.slots
        if session.slots > slots:
            self._cycle.ledger.leasing.readmit()
        if report.draining and not session.draining:
            session.draining = True
            for executor in session.executors.values():
                self.answer_now(executor)
        session.memory_bytes, session.memory_limit_bytes = report.memory_bytes, report.memory_limit_bytes
        if report.released:
            self._cycle.ask(ReleaseLeases(session, report.released))
        for task_key, delivery, stack in report.stacks:
            for callback in self._stack_waits.pop((task_key, delivery), ()):
                callback(self._cycle, stack)
        for end in report.exited:
            self._exited(session, end)

    def beat(self, session: WorkerSession, connection: ServerConnection, wait_s: float) -> None:
        """Reply to a heartbeat: immediately if there is something to send, else within `wait_s` or at the next one."""
        session.answer_beat(self._cycle)
        session.beat = beat = Heartbeat(connection, session)
        if session.stops or session.stacks or wait_s <= 0:
            session.answer_beat(self._cycle)
        else:
            beat.until_at = self._cycle.clock.now() + wait_s
            self._cycle.park_idle(beat)

    def ask_for_stack(
        self, session: WorkerSession, task_key: int, delivery: int, callback: Callable[[Cycle, str], None]
    ) -> None:
        """Request the stack of a task from the worker that runs it, which reports it to the callback."""
        self._stack_waits.setdefault((task_key, delivery), []).append(callback)
        if (task_key, delivery) not in session.stacks:
            session.stacks.append((task_key, delivery))
        session.answer_beat(self._cycle)

    def give_up_stack(self, task_key: int, delivery: int, callback: Callable[[Cycle, str], None]) -> None:
        """Remove the callback: the worker has not reported the stack in time."""
        waits = self._stack_waits.get((task_key, delivery), [])
        if callback in waits:
            waits.remove(callback)
        if not waits:
            self._stack_waits.pop((task_key, delivery), None)

    def _exited(self, session: WorkerSession, end: ExecutorEnd) -> None:
        task_key, delivery = end.running or (0, 0)
        begun = dict(end.begun)
        executor = session.executors.pop(end.number, None)
        if executor is None:  # from before a restart, or of an ended session: its tasks are lost with it
            executor = ExecutorHolder(session, end.number)
            for one in ((task_key, delivery), *begun.items()):
                self._reclaim(executor, *one)
        executor.ended = True
        self._unserve(executor)
        cause = end.cause or "its executor ended"
        if task_key and end.kind == TIMEOUT:
            self._cycle.ask(EndOverrun(executor, cause, task_key, end.stack))
            return
        lost = None if end.suspects else task_key
        self._cycle.ask(LoseLeases(executor, "executor", cause, lost, begun, unexplained=end.unexplained))

    def _unserve(self, executor: ExecutorHolder) -> None:
        """Lease nothing more to an executor; a child process of its task may still hold its socket open."""
        executor.connection = None
        self.answer_now(executor)

    def answer_now(self, executor: ExecutorHolder) -> None:
        """Reply to the executor's parked request for leases, if there is one, without further waiting."""
        request = executor.request
        if isinstance(request, LeaseRequest) and request.parked:
            self._cycle.forget(request)
            request.expire(self._cycle, self._cycle.clock.now())

    def connection_closed(self, connection: ServerConnection) -> None:
        """Note that a worker's or executor's socket closed; give it `DISCONNECT_GRACE_S` to report or connect again."""
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
        """End a worker's session and its leases."""
        self.sessions.pop(session.key, None)
        self.unknown_names.update(dict.fromkeys(session.unknown))
        while len(self.unknown_names) > UNKNOWN_NAMES_MAX:
            del self.unknown_names[next(iter(self.unknown_names))]
        session.unknown.end()
        session.answer_beat(self._cycle)
        for executor in session.executors.values():
            self._unserve(executor)
            self.lose(executor, reason, cause)
        session.executors.clear()

    def lose(self, executor: ExecutorHolder, reason: str, cause: str) -> None:
        """End the leases of a lost executor; its lease-bound tasks keep theirs until its `lease_until_at`."""
        ledger, until_at = self._cycle.ledger, executor.session.lease_until_at
        if reason != LEASE and ledger.holds(bound := ledger.detach_holder(executor)):
            self._cycle.ask_at(until_at, LoseLeases(bound, reason, cause))
        if ledger.holds(executor):
            self._cycle.ask(LoseLeases(executor, reason, cause))


class EndOverrun(LoseLeases):
    """Fails the attempt of a task whose executor was killed because the task ran beyond its time limit."""

    __slots__ = ("stack", "task_key")

    def __init__(self, holder: Holder, cause: str, task_key: int, stack: str) -> None:
        super().__init__(holder, "executor", cause, running=0)
        self.task_key = task_key
        self.stack = stack

    def decide(self, cycle: Cycle, now: float) -> bool:  # noqa: D102 - as Request
        ledger, task = cycle.ledger, self.holder.held.get(self.task_key)
        if task is not None:
            limit_s = task.envelope.time_limit_s or 0.0
            body = pack_overrun(self.cause, self.stack)
            ledger.settle(self.task_key, task.delivery, Outcome.TIMEOUT, body, limit_s, self.cause)
        return super().decide(cycle, now)  # False while that is being applied: it is decided again then


class ReleaseLeases(Request):
    """Releases tasks that an executor has not begun and shall not begin, as its supervisor reports."""

    __slots__ = ("before", "deliveries", "session")
    only_ends = True

    def __init__(self, session: object, deliveries: Sequence[tuple[int, int]]) -> None:
        super().__init__()
        self.session = session
        self.deliveries = self.before = deliveries

    def decide(self, cycle: Cycle, now: float) -> bool:  # noqa: ARG002, D102 - as Request
        ledger, self.before = cycle.ledger, self.deliveries
        left = []
        for task_key, delivery in self.deliveries:
            task = ledger.state.tasks.get(task_key)
            if task is None or task.holder is None or task.holder.worker is not self.session:
                continue
            if not ledger.settle(task_key, delivery, Outcome.RELEASED, None, 0.0):
                left.append((task_key, delivery))
        self.deliveries = left
        return not left

    def undo(self) -> None:  # noqa: D102
        self.deliveries = self.before

    def put_back(self, cycle: Cycle, exc: CommitRefused, now: float) -> None:  # noqa: D102 - as Request
        self.undo()
        cycle.refused.ask_later(self, exc, now)
