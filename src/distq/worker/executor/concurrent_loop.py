"""An executor that runs several tasks at the same time, and exchanges with the master while they run.

The main thread alone speaks with the master. It asks for as many tasks as there are free slots, and the master may keep
that request waiting. When a task ends meanwhile, the main thread sends a second request, upon which the master answers
the one that waits. So every leased task has begun, and no result waits for another task. A thread of its own interrupts
tasks: their time limits hold while the master is away, too.
"""

from __future__ import annotations

import math
import os
import select
import threading
from collections import deque
from collections.abc import Callable, Iterable
from functools import partial
from typing import Final, NamedTuple

from distq.core.outcome import Outcome
from distq.net.dial import Connection, ConnectionLost
from distq.protocol.exchange import LeasedTask, LeaseReply, read_lease_reply
from distq.protocol.methods import BROKER, EXCHANGE
from distq.tasks import current
from distq.tasks.current import Current
from distq.tasks.failure import TaskStopped, TimeLimitExceeded, overrun_text
from distq.wire.errors import RemoteRefusal
from distq.worker.executor.current_task import current_of
from distq.worker.executor.dependencies import with_upstream_results
from distq.worker.executor.exchange import ANSWER_S, LEASE_WAIT_S, OUTDATED, WAIT_S, lease_id_of
from distq.worker.executor.functions import Functions
from distq.worker.executor.handler import RunOutcome
from distq.worker.executor.interrupts import end_for_lease
from distq.worker.executor.process_state import STACK_SIGNAL, STOP_SIGNAL, ProcessState
from distq.worker.executor.recycling import RecyclePolicy
from distq.worker.executor.running_task import RunningTask, running_task
from distq.worker.executor.seals import ExecutorSeals
from distq.worker.executor.settlements import Settlements
from distq.worker.executor.shutdown import ShutdownFlag
from distq.worker.executor.task_pool import TaskPool
from distq.worker.executor.unaccepted_submits import LAST_SUBMITS_S, SubmitFuture, SubmitOutbox, note_submit
from distq.worker.executor.wakeup import WakeupPipe
from distq.worker.shared.clock import Clock
from distq.worker.shared.executor_config import ExecutorConfig
from distq.worker.shared.lease_id import LeaseId
from distq.worker.shared.page import PAGE_BYTES
from distq.worker.shared.reports import Reporter
from distq.worker.shared.slots_page import SlotsPage

NOT_ENDED: Final = frozenset((Outcome.PROGRESS, Outcome.CHECKPOINT, Outcome.PART, Outcome.RELEASED))
"""Outcomes of settlements that do not end a run."""
NOTES_S: Final = 0.05
"""Maximum seconds for which progress and checkpoints wait to be sent."""
ROOM_S: Final = 0.01
"""Seconds between two looks of a streaming task for room."""


class Incomplete(NamedTuple):
    """A leased task that needs the results of others before it can begin."""

    row: LeasedTask
    reply: LeaseReply
    asked_at: float


class PendingExchange(NamedTuple):
    """An exchange that is not answered yet."""

    settlements_count: int
    want: int
    """How many tasks it asks for."""
    asked_at: float


class ConcurrentLoop:
    """The tasks and settlements of an executor that runs several tasks at the same time, and its exchanges."""

    def __init__(
        self,
        config: ExecutorConfig,
        functions: Functions,
        page: SlotsPage,
        reporter: Reporter,
        shutdown: ShutdownFlag,
        lifeline_fd: int,
        clock: Clock,
        seals: ExecutorSeals | None = None,
    ) -> None:
        self._page = page
        self._shutdown = shutdown
        self._lifeline_fd = lifeline_fd
        self._clock = clock
        self._state = ProcessState()
        self.recycling = RecyclePolicy(config)
        self.settlements = Settlements(config, page, reporter, self.recycling, clock, seals)
        self._codec = functions.codec
        self._pool = TaskPool(functions, shutdown, self._ended)
        self._free = list(reversed(range(config.executor_slots)))
        """The slots in which no task runs."""
        self._running: dict[int, RunningTask] = {}
        """By slot."""
        self._incomplete: list[Incomplete] = []
        self._lock = threading.Lock()
        """Guards what the threads of tasks change too: the settlements and the counts."""
        self._done: deque[int] = deque()
        """Slots whose tasks have ended, until the main thread frees them."""
        self._sent: deque[PendingExchange] = deque()
        self._asked_at = 0.0
        self._notes_sent_at = 0.0
        self._lapsed_at = -math.inf
        """When a task came whose lease is not known to hold: for `LEASE_WAIT_S` no more are asked for."""
        self._wakes = WakeupPipe()
        self._interrupts = WakeupPipe()
        threading.Thread(target=self._interrupt, name="interrupts", daemon=True).start()
        current.find_current = self.current

    def listen(self, state: ProcessState) -> None:
        """Take over the signals by which the supervisor stops a task, and asks for the stacks."""
        self._state = state
        state.own(STOP_SIGNAL, self._stop_signalled)
        state.own(STACK_SIGNAL, self._stack_signalled)
        os.lseek(self._page.fd, PAGE_BYTES, os.SEEK_SET)
        state.write_stacks_to(self._page.fd, all_threads=True)

    # -- for the runner ----------------------------------------------------------------------------

    @property
    def has_unsettled(self) -> bool:
        """Whether a task runs or waits to begin, or a settlement is not sent."""
        return bool(self.settlements or self._running or self._incomplete)

    @property
    def held(self) -> list[LeaseId]:
        """The leases that this executor settles now or later."""
        with self._lock:
            settled = self.settlements.held
        running = [task.lease_id for task in self._running.values()]
        return [*settled, *running, *(lease_id_of(one.row) for one in self._incomplete)]

    def connection_lost(self) -> None:
        """Note that the connection to the master has ended: every request is sent again."""
        self._sent.clear()

    def close(self) -> None:
        """Do nothing: the threads end with the process."""

    def current(self) -> Current | None:
        """What `distq.current()` returns in the task whose code runs here; None outside of tasks."""
        task = running_task.get()
        if task is None:
            return None
        limit_s = task.envelope[3]
        left_s = None if limit_s is None else task.began_at + limit_s - self._clock()
        send = partial(self._add_note, task)
        shutdown, codec = self._shutdown, self._codec

        def is_stopped() -> bool:
            return task.reason is not None

        cursor = self.settlements.opened_cursor(task.lease_id.task_key, task.cursor)
        return current_of(task.row, task.envelope, left_s, cursor, task.headers, send, shutdown, codec, is_stopped)

    def note_submit(self, future: SubmitFuture, outbox: SubmitOutbox) -> None:
        """Note a submit of the task whose code runs here. A thread that a task has started may belong to any task."""
        task = running_task.get()
        for one in list(self._running.values()) if task is None else (task,):
            note_submit(one.submits, future, outbox)

    def serve(self, connection: Connection, is_outdated: Callable[[], bool] = bool) -> None:
        """Exchange and start tasks until the executor has ended, or the connection is lost or outdated by a new key."""
        while not is_outdated():
            self._free_slots()
            ending = self._shutdown.is_set or self.recycling.is_due
            if ending and not (self.has_unsettled or self._sent):
                return
            if self._incomplete and ending:
                self._hand_back(one.row for one in self._incomplete)
                self._incomplete.clear()
            if self._incomplete and not self._sent:
                self._complete(connection)
            if self.settlements.kept:
                self._take_accepted(ending=ending)
            if self._must_ask(ending=ending):
                self._ask(connection, ending=ending)
            readable = self._wait(connection, ending=ending)
            while self._sent and (readable or connection.is_answering):
                self._answer(connection)
                readable = False
        raise ConnectionLost(OUTDATED)

    # -- exchanges ---------------------------------------------------------------------------------

    def _must_ask(self, *, ending: bool) -> bool:
        """Whether there is something to settle, or to ask for, that no request in flight covers."""
        sent_count = sum(request.settlements_count for request in self._sent)
        unsent = len(self.settlements.rows) > sent_count or self._has_due_notes()
        if not self._sent:
            return unsent or self._wanted(ending=ending) > 0
        if len(self._sent) > 1:
            return False
        return unsent or ((ending or bool(self._incomplete)) and self._sent[0].want > 0)

    def _wanted(self, *, ending: bool) -> int:
        """How many tasks to ask for: one for each free slot that no request in flight asks for."""
        if ending or self._incomplete or self._clock() < self._lapsed_at + LEASE_WAIT_S:
            return 0
        room = min(len(self._free), self.recycling.tasks_left - len(self._running))
        return max(int(room) - sum(request.want for request in self._sent), 0)

    def _has_notes(self) -> bool:
        return any(task.notes for task in self._running.values())

    def _has_due_notes(self) -> bool:
        """Whether progress or checkpoints have waited long enough to be sent."""
        return self._clock() >= self._notes_sent_at + NOTES_S and self._has_notes()

    def _ask(self, connection: Connection, *, ending: bool) -> None:
        self._take_notes()
        want = self._wanted(ending=ending)
        settlements = self.settlements
        with self._lock:
            begin = sum(request.settlements_count for request in self._sent)
            end = begin + settlements.fit(begin)
            rows, later = settlements.packed(begin, end), settlements.rows[end:]
            settlements.size_bytes = sum(len(row[3] or b"") for row in later)
        if later:
            want = 0  # the master answers immediately, and the next request carries the others
        self._asked_at = self._clock()
        connection.ask(BROKER, EXCHANGE, (rows, want, WAIT_S if want else 0.0), timeout_s=ANSWER_S)
        self._sent.append(PendingExchange(len(rows), want, self._asked_at))

    def _answer(self, connection: Connection) -> None:
        request = self._sent[0]
        try:
            answer = connection.answer(timeout_s=ANSWER_S)
        except RemoteRefusal as error:
            with self._lock:
                self.settlements.refused(request.settlements_count, error)
            raise
        self._sent.popleft()
        with self._lock:
            self.settlements.confirmed(request.settlements_count)
            self._note_unsettled()
        reply = read_lease_reply(answer)
        if reply.rows and (self._shutdown.is_set or self.recycling.is_due):
            self._hand_back(reply.rows)
            return
        for row in self.settlements.opened(reply):
            if row[0] in reply.upstream_counts:
                self._incomplete.append(Incomplete(row, reply, request.asked_at))
            else:
                self._start(row, reply, request.asked_at)

    def _hand_back(self, rows: Iterable[LeasedTask]) -> None:
        """Hand leased tasks back that must not begin here any more."""
        with self._lock:
            self.settlements.release(map(lease_id_of, rows))

    def _complete(self, connection: Connection) -> None:
        """Fetch the results that leased tasks need, and start these tasks."""
        incomplete, self._incomplete = self._incomplete, []
        for index, (row, reply, asked_at) in enumerate(incomplete):
            try:
                complete = with_upstream_results(connection, [row], reply.upstream_counts, self.settlements.seals)
            except BaseException:
                self._incomplete = incomplete[index:]
                raise
            for whole in complete:
                self._start(whole, reply, asked_at)

    def _wait(self, connection: Connection, *, ending: bool) -> bool:
        """Wait until there is something to do; True if the master has answered."""
        poll = select.poll()
        for source in (self._wakes.fileno(), self._lifeline_fd, *(() if ending else (self._shutdown.fileno(),))):
            poll.register(source, select.POLLIN)
        connection_fd = connection.fileno()
        poll.register(connection_fd, select.POLLIN)
        now = self._clock()
        until_at = math.inf
        if self._has_notes():
            until_at = min(until_at, self._notes_sent_at + NOTES_S)
        if self.settlements.kept:
            until_at = min(until_at, now + self.settlements.kept.pause_s)
        if self._sent:
            until_at = min(until_at, self._asked_at + WAIT_S + ANSWER_S)
        if now < self._lapsed_at + LEASE_WAIT_S:
            until_at = min(until_at, self._lapsed_at + LEASE_WAIT_S)
        timeout_ms = None if until_at == math.inf else max(until_at - now, 0.0) * 1000 + 1
        found = {fd for fd, _ in poll.poll(0 if connection.is_answering and self._sent else timeout_ms)}
        self._wakes.clear()
        if self._lifeline_fd in found:
            raise ConnectionLost("The supervisor is gone.")
        if connection_fd in found:
            if not self._sent:
                connection.answer(timeout_s=0.0)  # only the connection's end can come: this raises its reason
            return True
        if self._sent and self._clock() >= self._asked_at + WAIT_S + ANSWER_S:
            raise ConnectionLost("The master has not answered in time.")
        return False

    # -- tasks -------------------------------------------------------------------------------------

    def _start(self, row: LeasedTask, reply: LeaseReply, asked_at: float) -> None:
        now = self._clock()
        task = RunningTask(self._free.pop(), row, reply, now)
        self._running[task.slot] = task
        self._page.start(task.slot, task.lease_id, task.limit_s, now, is_lease_bound=task.is_lease_bound)
        # Only now, as the page names the task, the supervisor ends it if the lease is over from here on.
        if task.is_lease_bound and not self._page.has_lease(asked_at, now):
            self._lapsed_at = now
            self._ended(task, RunOutcome(Outcome.RELEASED, b""))
            return
        if (seals := self.settlements.seals) is not None and (refused := seals.refusal_of(row[0])) is not None:
            self._ended(task, refused)
            return
        self._pool.start(task)
        if task.limit_s or task.is_lease_bound:
            self._interrupts.set()

    def _ended(self, task: RunningTask, ran: bytes | RunOutcome) -> None:
        """Settle a task that has ended; called in the thread in which it ran."""
        run_s = self._clock() - task.began_at
        outcome = RunOutcome(Outcome.SUCCESS, ran) if isinstance(ran, bytes) else ran
        with self._lock:
            if task.notes:
                self.settlements.take_notes(task.notes)
            self.settlements.add_outcome(task.row, task.envelope, task.headers, outcome, run_s, task.submits)
            self._note_unsettled()
            self._page.finish(task.slot)
        self._done.append(task.slot)
        self._wakes.set()

    def _note_unsettled(self) -> None:
        """Name the ended tasks that are not settled: one may be to blame for this executor's death; under the lock."""
        rows, kept = self.settlements.rows, self.settlements.kept
        ended = [(row[0], row[1]) for row in ((*rows, *kept.settlements) if kept else rows) if row[2] not in NOT_ENDED]
        self._page.set_unsettled(ended)

    def _free_slots(self) -> None:
        """Free the slots of tasks that have ended."""
        if not self._done:
            return
        while self._done:
            slot = self._done.popleft()
            del self._running[slot]
            self._free.append(slot)
        self._state.restore()
        self.recycling.check_memory()

    def _add_note(self, task: RunningTask, outcome: int, body: bytes) -> None:
        """Take what a running task sends: progress, a checkpoint, or a part of its stream."""

        def add() -> bool:
            with self._lock:
                return self.settlements.add_note(task.lease_id, task.notes, outcome, body)

        if task.run_uninterrupted(add):
            self._wakes.set()
            self.settlements.wait_for_room(self._clock, self._shutdown, ROOM_S)

    def _take_accepted(self, *, ending: bool) -> None:
        """Make kept settlements ready to send; only an executor that ends waits here for acceptances."""
        last = ending and not self._running
        with self._lock:
            self.settlements.take_accepted(LAST_SUBMITS_S if last else 0.0, last=last)

    def _take_notes(self) -> None:
        self._notes_sent_at = self._clock()
        with self._lock:
            for task in self._running.values():
                self.settlements.take_notes(task.notes)

    def _interrupt(self) -> None:
        """Stop the tasks that the supervisor names, and those beyond their time limits; a thread of its own."""
        while True:
            now = self._clock()
            until_at = math.inf
            for task in list(self._running.values()):
                if task.is_lease_bound:
                    if now >= self._page.lease_until_at:
                        end_for_lease(self._page)
                    until_at = min(until_at, self._page.lease_until_at)
                if task.reason is not None:
                    continue
                if self._page.shall_stop(task.slot, task.lease_id.delivery):
                    task.interrupt(TaskStopped("the task was cancelled while it ran."))
                elif task.limit_s and now >= task.began_at + task.limit_s:
                    task.interrupt(TimeLimitExceeded(overrun_text(task.limit_s)))
                elif task.limit_s:
                    until_at = min(until_at, task.began_at + task.limit_s)
            self._interrupts.wait(None if until_at == math.inf else max(until_at - self._clock(), 0.0))

    def _stop_signalled(self, _number: int, _frame: object) -> None:
        self._interrupts.set()

    def _stack_signalled(self, _number: int, _frame: object) -> None:
        """Add the stacks of waiting coroutines; those of the threads are in the page already."""
        stacks = self._pool.stacks()
        if stacks:
            os.write(self._page.fd, stacks.encode(errors="replace"))
