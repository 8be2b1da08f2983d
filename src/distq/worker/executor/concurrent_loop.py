"""An executor that runs several tasks at once: its exchanges are made while they run.

The main thread alone speaks with the master. It asks for as many tasks as there are free seats, and the master may keep
it waiting; when a task ends meanwhile, it asks again at once, upon which the master answers what it has kept waiting.
So nothing is ever held that has not begun, and no result waits for another task. A thread of its own interrupts tasks:
their limits hold while the master is away, too.
"""

from __future__ import annotations

import math
import os
import select
import threading
import time
from collections import deque
from collections.abc import Sequence
from functools import partial
from typing import Final

from distq.core.task import Outcome, id_text, trace_id_of
from distq.net.dial import Connection, ConnectionLost
from distq.tasks import current
from distq.tasks.current import Current
from distq.tasks.failure import TaskStopped, TimeLimitExceeded, overrun_text
from distq.wire.errors import RemoteRefusal
from distq.worker.executor.answers import Answers
from distq.worker.executor.batch_loop import ANSWER_S, LEASE_WAIT_S, WAIT_S, MasterTooOld
from distq.worker.executor.current_task import current_of
from distq.worker.executor.dependencies import completed
from distq.worker.executor.functions import Functions
from distq.worker.executor.handler import Ran
from distq.worker.executor.interrupts import end_for_lease
from distq.worker.executor.process_state import STACK_SIGNAL, STOP_SIGNAL, ProcessState
from distq.worker.executor.recycling import RecyclePolicy
from distq.worker.executor.rows import Handed, Leased, Settled, answer_to, counted, handed, released
from distq.worker.executor.running_task import RunningTask, deliver_interrupts
from distq.worker.executor.shutdown import ShutdownFlag
from distq.worker.executor.task_pool import TaskPool
from distq.worker.executor.wakeup import WakeupPipe
from distq.worker.shared.clock import Clock
from distq.worker.shared.executor_config import ExecutorConfig
from distq.worker.shared.page import PAGE_BYTES
from distq.worker.shared.reports import Failed, Reporter, Succeeded
from distq.worker.shared.slots_page import SlotsPage

NOT_ENDED: Final = frozenset((Outcome.PROGRESS, Outcome.CHECKPOINT, Outcome.PART, Outcome.RELEASED))
"""Answers that are no end of a run."""
TELL_S: Final = 0.05
"""What a task says while it runs does not wait longer than this."""
ROOM_S: Final = 0.01
"""How often who streams faster than the master takes it looks for room."""


class ConcurrentLoop:
    """What one executor holds and owes, and its exchanges."""

    def __init__(
        self,
        orders: ExecutorConfig,
        functions: Functions,
        board: SlotsPage,
        reporter: Reporter,
        quit_: ShutdownFlag,
        lifeline_fd: int,
        clock: Clock,
    ) -> None:
        self.takes_notes = False
        """Whether the master takes what tasks say while they run."""
        self._page = board
        self._reporter = reporter
        self._shutdown = quit_
        self._lifeline_fd = lifeline_fd
        self._clock = clock
        self._state = ProcessState()
        self._verbose = orders.verbose
        self.recycling = RecyclePolicy(orders)
        self._codec = functions.codec
        self._pool = TaskPool(functions, quit_, self._ended)
        self._free = list(reversed(range(orders.executor_slots)))
        self._running: dict[int, RunningTask] = {}
        """By seat."""
        self._incomplete: list[tuple[Leased, Handed, float]] = []
        """Leased tasks that need the results of others, and when they were asked for."""
        self._lock = threading.Lock()
        """Guards what those threads touch that run tasks: the answers, and the counts."""
        self._settled: list[Settled] = []
        self._settled_bytes = 0
        self._done: deque[int] = deque()
        """Seats whose tasks have ended, for the main thread to take back."""
        self._sent: deque[tuple[int, int, float]] = deque()
        """Exchanges without an answer: how many answers each has carried, how many tasks it wants, and since when."""
        self._asked_at = 0.0
        self._told_at = 0.0
        self._lapsed_at = -math.inf
        """When a task came whose lease is not known to hold: for a moment no more are asked for."""
        self.answers = Answers(reporter, orders.frame_bytes_max)
        self._wakes = WakeupPipe()
        self._interrupts = WakeupPipe()
        threading.Thread(target=self._interrupt, name="interrupts", daemon=True).start()
        current.find_current = self.current

    def listen(self, state: ProcessState) -> None:
        """Take over the signals by which the supervisor stops a task, and asks where one is."""
        self._state = state
        state.own(STOP_SIGNAL, self._stop_signalled)
        state.own(STACK_SIGNAL, self._stack_signalled)
        os.lseek(self._page.fd, PAGE_BYTES, os.SEEK_SET)
        state.leaves_stacks(self._page.fd, all_threads=True)

    # -- what the runner asks ----------------------------------------------------------------------

    @property
    def owes(self) -> bool:
        """Whether something runs, or is to be settled."""
        return bool(self._settled or self._running or self._incomplete)

    @property
    def holds(self) -> list[tuple[int, int]]:
        """The deliveries for which this executor still has an answer, or will have."""
        with self._lock:
            settled = [(row[0], row[1]) for row in self._settled]
        rows = [row for row, *_ in self._incomplete]
        return [*settled, *(seat.delivery for seat in self._running.values()), *((row[0], row[1]) for row in rows)]

    def parted(self) -> None:
        """The connection is gone: what was asked is asked again."""
        self._sent.clear()

    def close(self) -> None:
        """Give nothing back: threads end with the process."""

    def current(self) -> Current | None:
        """What `distq.current()` tells the task that runs here."""
        seat = deliver_interrupts.get()
        if seat is None:
            return None
        limit_s = seat.envelope[3]
        left_s = None if limit_s is None else seat.began_at + limit_s - self._clock()
        says = partial(self._says, seat)
        quit_, codec = self._shutdown, self._codec

        def is_stopped() -> bool:
            return seat.reason is not None

        return current_of(seat.row, seat.envelope, left_s, seat.cursor, seat.headers, says, quit_, codec, is_stopped)

    def serve(self, connection: Connection) -> None:
        """Exchange, and have tasks run, until told to end, or worn; then everything is settled."""
        while True:
            self._take_back()
            ending = self._shutdown.asked or self.recycling.out
            if ending and not (self.owes or self._sent):
                return
            if self._incomplete and ending:
                self._hand_back([row for row, *_ in self._incomplete])
                self._incomplete.clear()
            if self._incomplete and not self._sent:
                self._complete(connection)
            if self._must_ask(ending=ending):
                self._ask(connection, ending=ending)
            readable = self._wait(connection, ending=ending)
            while self._sent and (readable or connection.is_answering):
                self._answer(connection)
                readable = False

    # -- exchanges ---------------------------------------------------------------------------------

    def _must_ask(self, *, ending: bool) -> bool:
        """Whether there is something to say, or to ask for, that is not under way already."""
        unsent = len(self._settled) > sum(count for count, *_ in self._sent) or self._has_told()
        if not self._sent:
            return unsent or self._wanted(ending=ending) > 0
        if len(self._sent) > 1:
            return False
        return unsent or ((ending or bool(self._incomplete)) and self._sent[0][1] > 0)

    def _wanted(self, *, ending: bool) -> int:
        """How many tasks to ask for: as many as there are seats for, and no others are asked for."""
        if ending or self._incomplete or self._clock() < self._lapsed_at + LEASE_WAIT_S:
            return 0
        places = min(len(self._free), self.recycling.tasks_left - len(self._running))
        return max(int(places) - sum(want for _, want, _ in self._sent), 0)

    def _has_told(self) -> bool:
        """Whether tasks have said something that is due."""
        return self._clock() >= self._told_at + TELL_S and any(seat.told for seat in self._running.values())

    def _ask(self, connection: Connection, *, ending: bool) -> None:
        self._take_told()
        want = self._wanted(ending=ending)
        with self._lock:
            begin = sum(count for count, *_ in self._sent)
            end = begin + self.answers.fit(self._settled, begin)
            rows, later = self._settled[begin:end], self._settled[end:]
            self._settled_bytes = sum(len(row[3] or b"") for row in later)
        if later:
            want = 0  # the master answers at once, and hears the others then
        self._asked_at = self._clock()
        connection.ask("broker", "exchange", (rows, want, WAIT_S if want else 0.0), timeout_s=ANSWER_S)
        self._sent.append((len(rows), want, self._asked_at))

    def _answer(self, connection: Connection) -> None:
        count, _, asked_at = self._sent[0]
        try:
            reply = connection.answer(timeout_s=ANSWER_S)
        except RemoteRefusal as error:
            with self._lock:
                self.answers.refused(self._settled, count, error)
            raise
        self._sent.popleft()
        self.answers.arrived()
        with self._lock:
            del self._settled[:count]
            self._note_unsettled()
        brought = handed(reply)
        if brought.rows and (self._shutdown.asked or self.recycling.out):
            self._hand_back(brought.rows)
            return
        for row in brought.rows:
            if row[0] in brought.befores:
                self._incomplete.append((row, brought, asked_at))
            else:
                self._start(row, brought, asked_at)

    def _hand_back(self, rows: Sequence[Leased]) -> None:
        """Tasks came that are not to begin here any more."""
        with self._lock:
            self._settled += released([(row[0], row[1]) for row in rows])
            self._page.releases(len(rows))

    def _complete(self, connection: Connection) -> None:
        """Fetch the results that tasks need, and begin these."""
        incomplete, self._incomplete = self._incomplete, []
        for at, (row, brought, asked_at) in enumerate(incomplete):
            try:
                complete = completed(connection, [row], brought.befores)
            except BaseException:
                self._incomplete = incomplete[at:]
                raise
            for whole in complete:
                self._start(whole, brought, asked_at)

    def _wait(self, connection: Connection, *, ending: bool) -> bool:
        """Wait until something happens; whether it is an answer."""
        poll = select.poll()
        for source in (self._wakes.fileno(), self._lifeline_fd, *(() if ending else (self._shutdown.fileno(),))):
            poll.register(source, select.POLLIN)
        ours = connection.fileno()
        poll.register(ours, select.POLLIN)
        now = self._clock()
        until = math.inf
        if any(seat.told for seat in self._running.values()):
            until = min(until, self._told_at + TELL_S)
        if self._sent:
            until = min(until, self._asked_at + WAIT_S + ANSWER_S)
        if now < self._lapsed_at + LEASE_WAIT_S:
            until = min(until, self._lapsed_at + LEASE_WAIT_S)
        timeout_ms = None if until == math.inf else max(until - now, 0.0) * 1000 + 1
        found = {fd for fd, _ in poll.poll(0 if connection.is_answering and self._sent else timeout_ms)}
        self._wakes.clear()
        if self._lifeline_fd in found:
            raise ConnectionLost("The supervisor is gone.")
        if ours in found:
            if not self._sent:
                connection.answer(timeout_s=0.0)  # nothing is to come but the connection's end: it says how
            return True
        if self._sent and self._clock() >= self._asked_at + WAIT_S + ANSWER_S:
            raise ConnectionLost("The master has not answered in time.")
        return False

    # -- tasks -------------------------------------------------------------------------------------

    def _start(self, row: Leased, brought: Handed, asked_at: float) -> None:
        now = self._clock()
        seat = RunningTask(self._free.pop(), row, brought, now)
        self._running[seat.number] = seat
        self._page.starts(seat.number, *seat.delivery, seat.limit_s, seat.began_at, fenced=seat.fenced)
        if seat.fenced and not self._page.has_lease(asked_at, now):  # looked at when the board says that it is
            self._lapsed_at = now
            self._ended(seat, Ran(Outcome.RELEASED, b""))
            return
        self._pool.start(seat)
        if seat.limit_s or seat.fenced:
            self._interrupts.set()

    def _ended(self, seat: RunningTask, ran: bytes | Ran) -> None:
        """A task has ended; said by the thread in which it ran."""
        run_s = self._clock() - seat.began_at
        ended = Ran(Outcome.SUCCESS, ran) if isinstance(ran, bytes) else ran
        with self._lock:
            self._settled += seat.told.values()
            seat.told = {}
            self._settled.append(answer_to(seat.row, ended, run_s))
            self._settled_bytes += len(ended.body)
            self._note_unsettled()
            self._page.finishes(seat.number)
            failed = counted(self._page, ended.outcome, run_s)
            self.recycling.tasks_left -= ended.outcome != Outcome.UNKNOWN
        task, name, attempt, trace_id = id_text(seat.row[0]), seat.envelope[1], seat.row[2], trace_id_of(seat.headers)
        if failed:
            self._reporter.send(Failed(task, name, attempt, ended.text, trace_id))
        elif self._verbose and ended.outcome == Outcome.SUCCESS:
            self._reporter.send(Succeeded(task, name, attempt, run_s, trace_id))
        self._done.append(seat.number)
        self._wakes.set()

    def _note_unsettled(self) -> None:
        """What has ended and is not settled stays to blame for what happens to this executor; under the lock."""
        self._page.unsettled([(row[0], row[1]) for row in self._settled if row[2] not in NOT_ENDED])

    def _take_back(self) -> None:
        """Seats are free again."""
        if not self._done:
            return
        while self._done:
            number = self._done.popleft()
            del self._running[number]
            self._free.append(number)
        self._state.put_back()
        self.recycling.weigh()

    def _says(self, seat: RunningTask, outcome: int, told: bytes) -> None:
        """A task says something while it runs: of progress and cursors the newest is sent."""
        if not self.takes_notes:
            if outcome == Outcome.PART:
                raise MasterTooOld("the master takes no parts of streams.")
            return
        said: Settled = (*seat.delivery, outcome, told, 0.0, "")
        with self._lock:
            if outcome == Outcome.PART:
                self._settled.append(said)
                self._settled_bytes += len(told)
            else:
                seat.told[outcome] = said
        self._wakes.set()
        until = self._clock() + ANSWER_S
        while self._settled_bytes >= self.answers.flush_bytes and self._clock() < until and not self._shutdown.asked:
            time.sleep(ROOM_S)  # who streams faster than the master takes it waits

    def _take_told(self) -> None:
        self._told_at = self._clock()
        with self._lock:
            for seat in self._running.values():
                if seat.told:
                    self._settled += seat.told.values()
                    seat.told = {}

    def _interrupt(self) -> None:
        """Stop what shall stop, and what has run for as long as it may; in a thread of its own."""
        while True:
            now = self._clock()
            until = math.inf
            for seat in list(self._running.values()):
                if seat.fenced:
                    if now >= self._page.lease_until_at:
                        end_for_lease(self._page)
                    until = min(until, self._page.lease_until_at)
                if seat.reason is not None:
                    continue
                if self._page.shall_stop(seat.number, seat.delivery[1]):
                    seat.interrupt(TaskStopped("the task was cancelled while it ran."))
                elif seat.limit_s and now >= seat.began_at + seat.limit_s:
                    seat.interrupt(TimeLimitExceeded(overrun_text(seat.limit_s)))
                elif seat.limit_s:
                    until = min(until, seat.began_at + seat.limit_s)
            self._interrupts.wait(None if until == math.inf else max(until - self._clock(), 0.0))

    def _stop_signalled(self, _number: int, _frame: object) -> None:
        self._interrupts.set()

    def _stack_signalled(self, _number: int, _frame: object) -> None:
        """The threads' stacks are in the page already; coroutines that wait are in none of these."""
        stacks = self._pool.stacks()
        if stacks:
            os.write(self._page.fd, stacks.encode(errors="replace"))
