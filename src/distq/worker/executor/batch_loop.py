"""An executor at distq's own master: one `exchange` settles what was run and leases what comes next.

Two threads meet here. The main one exchanges and runs; while a task of a batch runs long, the flusher settles
what is done and hands back what has not begun, on the same connection under a lock. The list of answers is shared
without one: the main thread appends, and only who holds the connection takes away from its front.
"""

import math
import os
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from typing import Final, cast

from distq.core.errors import DistqError
from distq.core.task import Outcome, id_text, trace_id_of
from distq.net.dial import Connection
from distq.tasks import current
from distq.tasks.current import Current
from distq.wire.errors import RemoteRefusal
from distq.worker.executor.answers import Answers
from distq.worker.executor.current_task import current_of
from distq.worker.executor.dependencies import completed
from distq.worker.executor.flusher import LOOK_S, Flusher
from distq.worker.executor.functions import Functions, Run
from distq.worker.executor.handler import Ran
from distq.worker.executor.interrupts import Interrupts
from distq.worker.executor.prefetch import PrefetchSize
from distq.worker.executor.recycling import RecyclePolicy
from distq.worker.executor.rows import Handed, Leased, Settled, answer_to, counted, handed, released
from distq.worker.executor.shutdown import ShutdownFlag
from distq.worker.executor.tracing import attempt_of, traced
from distq.worker.shared.batch_page import BEGUN, OVER, BatchPage, BatchPosition
from distq.worker.shared.clock import Clock
from distq.worker.shared.executor_config import ExecutorConfig
from distq.worker.shared.reports import Failed, Reporter, Succeeded

WAIT_S: Final = 10.0
"""How long the master may keep an exchange for which there is no task."""
ANSWER_S: Final = 20.0
"""How much longer its answer may take, before the connection counts as lost."""
SETTLED_S: Final = 0.25
"""What was sent so long ago is taken as settled when this executor is to end: the master settles first and waits
for tasks then. Were it not so, the lease would end and the task run again; nothing is lost."""
FLUSH_S: Final = 0.05
"""Results of a batch do not wait longer than this for the batch to end."""
RELEASE_S: Final = 0.15
"""A batch that takes three times as long as it was meant to is handed back: others may be free."""
LEASE_WAIT_S: Final = 0.25
"""A fenced task whose lease is not known to hold goes back after so long."""
QUIET_LOOKS: Final = 20
"""After so many looks without a batch the flusher sleeps until it is woken."""


class MasterTooOld(DistqError):
    """The master is of a version that does not know what the task needs."""

    code = "MASTER_TOO_OLD"
    hint = "Upgrade the master before the workers."


class BatchLoop:
    """What one executor holds and owes, and its exchanges."""

    def __init__(
        self,
        orders: ExecutorConfig,
        functions: Functions,
        interrupts: Interrupts,
        word: BatchPage,
        reporter: Reporter,
        quit_: ShutdownFlag,
        lifeline_fd: int,
        clock: Clock,
    ) -> None:
        self._functions = functions
        self._interrupts = interrupts
        self._page = word
        self._reporter = reporter
        self._shutdown = quit_
        self._lifeline_fd = lifeline_fd
        self._clock = clock
        self._verbose = orders.verbose
        self.recycling = RecyclePolicy(orders)
        self._prefetch = PrefetchSize()
        self._settled: list[Settled] = []
        self._settled_bytes = 0
        self._rows: Sequence[Leased] = ()
        self._batch: Sequence[Leased] = ()
        """What `current` looks into: the rows that run now, or ran last."""
        self._handed = Handed()
        """What the last exchange that brought tasks has brought with them."""
        self.answers = Answers(reporter, orders.frame_bytes_max)
        self._asked_at = math.inf
        self._asked_count = 0
        """How many answers the exchange carries that was asked last."""
        self._leased_at = 0.0
        """When the batch that came last was asked for."""
        self._likely_settled = 0
        self._connection: Connection | None = None
        self._speaking = threading.Lock()
        self._flusher = Flusher(self._look)
        self._seen = BatchPosition(0, -1)
        self._seen_at = 0.0
        self._quiet_looks = 0
        self._is_working = False
        """Whether a batch is under way, begun or not."""
        self.takes_notes = False
        """Whether the master takes what tasks say while they run: one of a version before would refuse all answers."""
        self._told: dict[int, Settled] = {}
        """What the task that runs has said last of its progress and its cursor, by outcome, until that is sent."""
        current.find_current = self.current

    @property
    def owes(self) -> bool:
        """Whether there is something to settle of which the master has probably not heard."""
        return len(self._settled) > self._likely_settled

    def current(self) -> Current | None:
        """What `distq.current()` tells the task that runs."""
        at, limit = self._page.place.started, self._page.limit
        if not 0 <= at < len(self._batch):
            return None
        row = self._batch[at]
        task_id, delivery, _, envelope, _ = row
        left_s = None if limit is None else limit.began_at + limit.limit_s - self._clock()
        brought, says, codec = self._handed, partial(self._says, task_id, delivery), self._functions.codec
        cursor, headers = brought.cursors.get(task_id), brought.headers.get(task_id, ())
        quit_, is_stopped = self._shutdown, self._is_stopped
        return current_of(row, brought.envelopes[envelope], left_s, cursor, headers, says, quit_, codec, is_stopped)

    def _is_stopped(self) -> bool:
        return self._page.stopping

    def _says(self, task_id: int, delivery: int, outcome: int, told: bytes) -> None:
        """A task says something while it runs; the flusher sends it: of progress and cursors the newest."""
        if not self.takes_notes:
            if outcome == Outcome.PART:
                raise MasterTooOld("the master takes no parts of streams.")
            return
        said: Settled = (task_id, delivery, outcome, told, 0.0, "")
        if outcome == Outcome.PART:
            self._settled.append(said)
            self._settled_bytes += len(told)
        else:
            self._told[outcome] = said
        if self._flusher.asleep:
            self._flusher.wake()
        if self._settled_bytes >= self.answers.flush_bytes:
            self._await_flush()

    def _await_flush(self) -> None:
        """Who streams faster than the master takes it waits; the flusher sends: no alarm interrupts it in a frame."""
        until = self._clock() + ANSWER_S
        while self._settled_bytes >= self.answers.flush_bytes and self._clock() < until and not self._shutdown.asked:
            time.sleep(LOOK_S)

    @property
    def holds(self) -> list[tuple[int, int]]:
        """The deliveries for which this executor still has an answer."""
        return [(task_id, delivery) for task_id, delivery, *_ in self._settled]

    def serve(self, connection: Connection) -> None:
        """Exchange and run until told to end, or worn; then everything is settled."""
        self._connection = connection
        while self._exchange(connection):
            self._work(connection)

    def parted(self) -> None:
        """The connection is gone: what had been asked may have been heard."""
        if self._clock() - self._asked_at >= SETTLED_S:
            self._likely_settled = self._asked_count
        self._asked_at = math.inf

    def close(self) -> None:
        """End the flusher."""
        self._flusher.end()

    # -- exchanges -------------------------------------------------------------------------------

    def _exchange(self, connection: Connection) -> bool:
        """Settle and lease; False when this executor is to end and owes nothing."""
        with self._speaking:
            if self._shutdown.asked or self.recycling.out:
                self._settle(connection)
                self._blames_none()
                return False
            count = self.answers.fit(self._settled)
            while count < len(self._settled):
                self._send(connection, count)
                count = self.answers.fit(self._settled)
            self._asked_at, self._asked_count = self._clock(), count
            want = int(min(self._prefetch.want, self.recycling.tasks_left))
            connection.ask("broker", "exchange", (self._settled[:count], want, WAIT_S), timeout_s=ANSWER_S)
            in_time = connection.wait((self._shutdown, self._lifeline_fd), timeout_s=WAIT_S + ANSWER_S)
            if not in_time and self._shutdown.asked and not self._answers_soon(connection):
                self._settled.clear()
                self._page.settled()
                return False  # whatever is on its way to us goes back when the supervisor reports our end
            self._answer(connection, count, ANSWER_S if in_time or self._shutdown.asked else 0.0)
            self._blames_none()
            return True

    def _blames_none(self) -> None:
        """If all answers are out, no task is to blame any more for what happens to this executor; main thread only."""
        if not self._settled:
            self._page.settled()

    def _answers_soon(self, connection: Connection) -> bool:
        """Whether there is something to wait for, and it comes before what we sent can be taken as settled."""
        left_s = self._asked_at + SETTLED_S - self._clock()
        return bool(self._settled) and left_s > 0 and connection.wait((self._lifeline_fd,), timeout_s=left_s)

    def _settle(self, connection: Connection) -> None:
        """Send what is done; its caller holds the connection."""
        left = len(self._settled)
        while left > 0:
            count = min(self.answers.fit(self._settled), left)
            self._send(connection, count)
            left -= count

    def _send(self, connection: Connection, count: int) -> None:
        """Send the first answers, and hear that they have arrived."""
        self._asked_at, self._asked_count = self._clock(), count
        connection.ask("broker", "exchange", (self._settled[:count], 0, 0.0), timeout_s=ANSWER_S)
        self._answer(connection, count, ANSWER_S)

    def _answer(self, connection: Connection, count: int, timeout_s: float) -> None:
        try:
            reply = connection.answer(timeout_s=timeout_s)
        except RemoteRefusal as error:
            self.answers.refused(self._settled, count, error)
            raise
        self.answers.arrived()
        self._likely_settled = 0
        del self._settled[:count]
        if not self._settled:
            self._settled_bytes = 0
        brought = handed(reply)
        if brought.rows:
            self._handed, self._rows, self._leased_at = brought, brought.rows, self._asked_at
            self._prefetch.leased(len(brought.rows))

    # -- running ---------------------------------------------------------------------------------

    def _work(self, connection: Connection) -> None:
        """Run what was leased; what takes too long is answered for, or handed back, on the way."""
        rows, self._rows = self._rows, ()
        if self._handed.befores:
            with self._speaking:
                rows = completed(connection, rows, self._handed.befores)
        if not rows:
            return
        word = self._page
        self._interrupts.state.put_back()
        self._batch = rows
        word.leases([number for row in rows for number in row[:2]])
        self._is_working = True  # before the flusher is looked at, which looks at this before it sleeps
        if self._flusher.asleep:
            self._flusher.wake()
        try:
            self._release([(row[0], row[1]) for row in self._run_all(rows, connection)])
        finally:
            self._is_working = False
            word.rests()
        self.recycling.weigh()

    def _run_all(self, rows: Sequence[Leased], connection: Connection) -> Sequence[Leased]:
        """Run a batch until it is done or takes too long; returns what must be handed back."""
        word, clock, quit_ = self._page, self._clock, self._shutdown
        pace_ran, task_ended, settled = self._prefetch.ran, self._interrupts.state.task_ended, self._settled
        envelopes, headers, verbose = self._handed.envelopes, self._handed.headers, self._verbose
        flush_bytes, run_it = self.answers.flush_bytes, self._interrupts.run
        fenced = frozenset(self._handed.fenced)
        runs = [self._functions.run_of(kind, name) for _, name, kind, _ in envelopes]
        limits = [limit_s for *_, limit_s in envelopes]
        done, done_s = 0, 0.0
        began = flushed = now = clock()
        try:
            for index, row in enumerate(rows):
                is_fenced = bool(fenced) and row[0] in fenced
                if quit_.asked or now - began >= RELEASE_S or (is_fenced and not self._has_lease()):
                    return self._not_begun(rows, index, OVER)
                begun = word.begins(index)
                if begun != BEGUN:
                    return self._not_begun(rows, index, begun)
                task_id, delivery, _, envelope, payload = row
                run = self._traced(runs[envelope], row) if headers else runs[envelope]
                ran = run_it(run, payload, limits[envelope], self._leased_at if is_fenced else None)
                if quit_.forked:
                    os._exit(os.EX_OK)  # the child of a fork has come out of the task: it answers for nothing
                if self._told:
                    self._take_told()
                before, now = now, clock()
                run_s = now - before
                pace_ran(run_s)
                task_ended(run_s)
                if type(ran) is bytes:
                    settled.append((task_id, delivery, 0, ran, run_s, ""))
                    self._settled_bytes += len(ran)
                    done += 1
                    done_s += run_s
                    if verbose:
                        self._succeeded(row, run_s)
                else:
                    self._otherwise(row, cast("Ran", ran), run_s)
                if now - flushed >= FLUSH_S or self._settled_bytes >= flush_bytes:
                    word.rests()
                    if index + 1 < len(rows) and not self._flushed(connection):
                        return self._not_begun(rows, index + 1, OVER)
                    self._blames_none()
                    now = flushed = clock()
            return ()
        finally:
            word.ran(done, 0, done_s)
            self.recycling.tasks_left -= done

    def _has_lease(self) -> bool:
        """Whether the batch is known to be ours: if it is not yet, we wait a moment for that to be heard."""
        until = self._clock() + LEASE_WAIT_S
        while (now := self._clock()) >= self._page.lease_until_at and now < until and not self._shutdown.asked:
            time.sleep(LOOK_S)
        return self._page.has_lease(self._leased_at, now)

    def _traced(self, run: Run, row: Leased) -> Run:
        headers = self._handed.headers.get(row[0])
        return traced(run, attempt_of(row, self._handed.envelopes[row[3]], headers)) if headers else run

    def _not_begun(self, rows: Sequence[Leased], index: int, begun: int) -> Sequence[Leased]:
        """What of a revoked batch must still be handed back; twice does no harm."""
        if not self._page.is_returned(self._page.place.batch):
            return rows[index:]
        return () if begun == OVER else rows[index : index + 1]

    def _flushed(self, connection: Connection) -> bool:
        """Settle between tasks; False if that failed, which the next exchange will find out too."""
        try:
            with self._speaking:
                self._settle(connection)
        except DistqError:
            return False
        return True

    def _otherwise(self, row: Leased, ran: Ran, run_s: float) -> None:
        """Note every outcome but a task's plain success."""
        task_id, _, attempt, envelope, _ = row
        self._settled.append(answer_to(row, ran, run_s))
        self._settled_bytes += len(ran.body)
        self.recycling.tasks_left -= ran.outcome != Outcome.UNKNOWN
        if counted(self._page, ran.outcome, run_s):
            name = self._handed.envelopes[envelope][1]
            trace_id = trace_id_of(self._handed.headers.get(task_id, ()))
            self._reporter.send(Failed(id_text(task_id), name, attempt, ran.text, trace_id))
        elif self._verbose and ran.outcome in (Outcome.SUCCESS, Outcome.DISCARDED):
            self._succeeded(row, run_s)

    def _succeeded(self, row: Leased, run_s: float) -> None:
        name, trace_id = self._handed.envelopes[row[3]][1], trace_id_of(self._handed.headers.get(row[0], ()))
        self._reporter.send(Succeeded(id_text(row[0]), name, row[2], run_s, trace_id))

    def _release(self, deliveries: Sequence[tuple[int, int]]) -> None:
        """Hand tasks back unstarted with the next answers."""
        back = released(deliveries)
        self._page.releases(len(back))
        self._settled += back

    def _look(self) -> bool:
        """The flusher's look at the batch; False when there is nothing to look after."""
        word = self._page
        place = word.place
        if place.started < 0:
            self._quiet_looks += 1
            return self._is_working or self._quiet_looks < QUIET_LOOKS
        self._quiet_looks = 0
        now = self._clock()
        if place != self._seen:
            self._seen, self._seen_at = place, now
            return True
        if not word.is_returned(place.batch) and (self._shutdown.asked or now - self._seen_at >= RELEASE_S - LOOK_S):
            word.revoke(place.batch)
            self._release(word.unstarted(word.place))
            word.returned(place.batch)
        self._take_told()
        if self._settled and (self._connection is None or not self._flushed(self._connection)):
            return False
        return not word.is_returned(place.batch)

    def _take_told(self) -> None:
        """Have what was said last sent with the next answers."""
        while self._told:
            with suppress(KeyError):  # the other thread may take it at the same time
                self._settled.append(self._told.popitem()[1])
