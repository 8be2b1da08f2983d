"""An executor that runs one task at a time: each exchange settles one batch of tasks and leases the next.

The main thread exchanges and runs. While a task runs long, the flusher's thread settles what has ended and releases
what has not begun, over the same connection; a lock gives that to one of them at a time. The list of settlements has no
lock: the main thread appends to it, and only the thread that has the connection removes, at the front.
"""

import math
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

from distq.core.errors import DistqError
from distq.core.outcome import Outcome
from distq.net.dial import Connection, ConnectionLost
from distq.protocol.exchange import LeasedTask, LeaseReply, Settlement, read_lease_reply
from distq.protocol.methods import BROKER, EXCHANGE
from distq.tasks import current
from distq.tasks.current import Current
from distq.wire.errors import RemoteRefusal
from distq.worker.executor.current_task import current_of
from distq.worker.executor.dependencies import with_upstream_results
from distq.worker.executor.exchange import ANSWER_S, LEASE_WAIT_S, OUTDATED, WAIT_S, lease_id_of
from distq.worker.executor.flusher import CHECK_S, Flusher
from distq.worker.executor.functions import Functions, PayloadRunner
from distq.worker.executor.handler import RunOutcome
from distq.worker.executor.interrupts import Interrupts
from distq.worker.executor.prefetch import PrefetchSize
from distq.worker.executor.recycling import RecyclePolicy
from distq.worker.executor.seals import ExecutorSeals
from distq.worker.executor.settlements import Settlements
from distq.worker.executor.shutdown import ShutdownFlag
from distq.worker.executor.tracing import attempt_of, traced
from distq.worker.executor.unaccepted_submits import (
    ACCEPT_S,
    LAST_SUBMITS_S,
    SubmitFuture,
    SubmitOutbox,
    Submits,
    note_submit,
)
from distq.worker.shared.batch_page import BEGUN, OVER, BatchPage, BatchPosition
from distq.worker.shared.clock import Clock
from distq.worker.shared.executor_config import ExecutorConfig
from distq.worker.shared.lease_id import LeaseId
from distq.worker.shared.reports import Reporter

SETTLED_S: Final = 0.25
"""Seconds after which an executor that is to end takes an unanswered exchange as settled: the master settles first, and
then waits for tasks. If the master had not, the leases would end and the tasks run again; nothing is lost."""
FLUSH_S: Final = 0.05
"""Maximum seconds for which a result waits for the end of its batch."""
RELEASE_S: Final = 0.15
"""Seconds after which the rest of a batch is released, three times its planned length: others may be idle."""
QUIET_CHECKS: Final = 20
"""Checks in a row that find no batch, after which the flusher sleeps until it is woken."""


class BatchLoop:
    """The tasks and settlements of an executor that runs one task at a time, and its exchanges."""

    def __init__(
        self,
        config: ExecutorConfig,
        functions: Functions,
        interrupts: Interrupts,
        page: BatchPage,
        reporter: Reporter,
        shutdown: ShutdownFlag,
        lifeline_fd: int,
        clock: Clock,
        seals: ExecutorSeals | None = None,
    ) -> None:
        self._functions = functions
        self._interrupts = interrupts
        self._page = page
        self._shutdown = shutdown
        self._lifeline_fd = lifeline_fd
        self._clock = clock
        self._verbose = config.verbose
        self.recycling = RecyclePolicy(config)
        self.settlements = Settlements(config, page, reporter, self.recycling, clock, seals)
        self._prefetch = PrefetchSize()
        self._rows: Sequence[LeasedTask] = ()
        """The leased tasks that have not begun."""
        self._batch: Sequence[LeasedTask] = ()
        """The batch that runs now or ran last; `current` finds its task here."""
        self._reply = LeaseReply()
        """The last answer that brought tasks."""
        self._asked_at = math.inf
        """When the last exchange was sent; infinite once its connection is lost."""
        self._asked_count = 0
        """Settlements in the last exchange."""
        self._leased_at = 0.0
        """When the exchange was sent that leased the last batch."""
        self._likely_settled_count = 0
        """Settlements that the master has probably taken, though its answer did not arrive."""
        self._connection: Connection | None = None
        self._connection_lock = threading.Lock()
        self._flusher = Flusher(self._check)
        self._last_position = BatchPosition(0, -1)
        self._last_position_at = 0.0
        self._quiet_checks = 0
        self._is_working = False
        """Whether the executor has a batch, begun or not."""
        self._notes: dict[int, Settlement] = {}
        """The newest progress and checkpoint of the running task, by outcome, until they are sent."""
        self._submits: Submits = deque()
        """Submits of the running task."""
        current.find_current = self.current

    @property
    def has_unsettled(self) -> bool:
        """Whether there are settlements that the master has probably not received."""
        return len(self.settlements.rows) > self._likely_settled_count or bool(self.settlements.kept)

    @property
    def held(self) -> list[LeaseId]:
        """The leases that this executor still has to settle."""
        return self.settlements.held

    def current(self) -> Current | None:
        """What `distq.current()` returns in the running task; None outside of tasks."""
        index, limit = self._page.position.started, self._page.limit
        if not 0 <= index < len(self._batch):
            return None
        row, reply = self._batch[index], self._reply
        task_key, envelope = row[0], reply.envelopes[row[3]]
        left_s = None if limit is None else limit.began_at + limit.limit_s - self._clock()
        cursor, headers = reply.cursors.get(task_key), reply.headers.get(task_key, ())
        cursor = self.settlements.opened_cursor(task_key, cursor)
        send, codec = partial(self._add_note, lease_id_of(row)), self._functions.codec
        return current_of(row, envelope, left_s, cursor, headers, send, self._shutdown, codec, self._is_stopped)

    def _is_stopped(self) -> bool:
        return self._page.is_stopping

    def note_submit(self, future: SubmitFuture, outbox: SubmitOutbox) -> None:
        """Note a submit that code of the running task has made."""
        note_submit(self._submits, future, outbox)

    def _add_note(self, lease_id: LeaseId, outcome: int, body: bytes) -> None:
        """Take what the running task sends: progress, a checkpoint, or a part of its stream.

        The flusher sends it: no timer interrupts that thread in the middle of a frame.
        """
        if not self.settlements.add_note(lease_id, self._notes, outcome, body):
            return
        if self._flusher.is_asleep:
            self._flusher.wake()
        self.settlements.wait_for_room(self._clock, self._shutdown, CHECK_S)

    def serve(self, connection: Connection, is_outdated: Callable[[], bool] = bool) -> None:
        """Exchange and run until the executor is to end or to be replaced; then everything is settled.

        Raises:
            ConnectionLost: the connection is lost, or outdated: the executor's key has changed.
        """
        self._connection = connection
        while self._exchange(connection):
            self._work(connection)
            if is_outdated():
                self._asked_at = math.inf  # the last exchange was answered
                raise ConnectionLost(OUTDATED)

    def connection_lost(self) -> None:
        """Note that the connection to the master has ended: the master may have received the last exchange."""
        if self._clock() - self._asked_at >= SETTLED_S:
            self._likely_settled_count = self._asked_count
        self._asked_at = math.inf

    def close(self) -> None:
        """End the flusher."""
        self._flusher.end()

    # -- exchanges -------------------------------------------------------------------------------

    def _exchange(self, connection: Connection) -> bool:
        """Settle and lease; False when this executor is to end and everything is settled."""
        settlements = self.settlements
        with self._connection_lock:
            if self._shutdown.is_set or self.recycling.is_due:
                self._settle(connection, end=True)
                self._clear_blame()
                return False
            if settlements.kept:
                settlements.take_accepted()
            count = settlements.fit()
            while count < len(settlements.rows):
                self._send(connection, count)
                count = settlements.fit()
            self._asked_at, self._asked_count = self._clock(), count
            want, wait_s = int(min(self._prefetch.want, self.recycling.tasks_left)), WAIT_S
            if settlements.kept:
                want, wait_s = settlements.ask_for(want)
            connection.ask(BROKER, EXCHANGE, (settlements.packed(0, count), want, wait_s), timeout_s=ANSWER_S)
            in_time = connection.wait((self._shutdown, self._lifeline_fd), timeout_s=WAIT_S + ANSWER_S)
            if not in_time and self._shutdown.is_set and not self._answers_soon(connection):
                settlements.rows.clear()
                self._page.all_settled()
                return False  # tasks on their way to this executor go back when the supervisor reports its end
            self._answer(connection, count, ANSWER_S if in_time or self._shutdown.is_set else 0.0)
            self._clear_blame()
            return True

    def _clear_blame(self) -> None:
        """If everything is settled, no task is to blame for this executor's death any more; main thread only."""
        settlements = self.settlements
        if not (settlements.rows or settlements.kept):
            self._page.all_settled()

    def _answers_soon(self, connection: Connection) -> bool:
        """Whether the master answers before the settlements sent to it can be taken as settled."""
        left_s = self._asked_at + SETTLED_S - self._clock()
        return bool(self.settlements.rows) and left_s > 0 and connection.wait((self._lifeline_fd,), timeout_s=left_s)

    def _settle(self, connection: Connection, *, end: bool = False) -> None:
        """Send the settlements that there are now; the caller holds the connection's lock.

        At the executor's end it sends the kept ones too, after `LAST_SUBMITS_S` at the latest.
        """
        self.settlements.take_accepted(LAST_SUBMITS_S if end else ACCEPT_S, last=end)
        left = len(self.settlements.rows)
        while left > 0:
            count = min(self.settlements.fit(), left)
            self._send(connection, count)
            left -= count

    def _send(self, connection: Connection, count: int) -> None:
        """Send the first settlements, lease nothing, and wait for the answer."""
        self._asked_at, self._asked_count = self._clock(), count
        connection.ask(BROKER, EXCHANGE, (self.settlements.packed(0, count), 0, 0.0), timeout_s=ANSWER_S)
        self._answer(connection, count, ANSWER_S)

    def _answer(self, connection: Connection, count: int, timeout_s: float) -> None:
        try:
            reply = connection.answer(timeout_s=timeout_s)
        except RemoteRefusal as error:
            self.settlements.refused(count, error)
            raise
        self._likely_settled_count = 0
        self.settlements.confirmed(count)
        leased = read_lease_reply(reply)
        if leased.rows:
            self._reply, self._rows, self._leased_at = leased, self.settlements.opened(leased), self._asked_at
            self._prefetch.leased(len(leased.rows))

    # -- running ---------------------------------------------------------------------------------

    def _work(self, connection: Connection) -> None:
        """Run the leased batch; a batch that takes too long is settled, or released, meanwhile."""
        rows, self._rows = self._rows, ()
        if self._reply.upstream_counts:
            with self._connection_lock:
                rows = with_upstream_results(connection, rows, self._reply.upstream_counts, self.settlements.seals)
        if not rows:
            return
        page = self._page
        self._interrupts.state.restore()
        self._batch = rows
        page.set_batch([number for row in rows for number in row[:2]])
        self._is_working = True  # set before `is_asleep` is read: the flusher reads both in the other order
        if self._flusher.is_asleep:
            self._flusher.wake()
        try:
            not_begun = self._run_all(rows, connection)
            if not_begun:
                self.settlements.release(map(lease_id_of, not_begun))
        finally:
            self._is_working = False
            page.rest()
        self.recycling.check_memory()

    def _run_all(self, rows: Sequence[LeasedTask], connection: Connection) -> Sequence[LeasedTask]:
        """Run a batch until it is done or takes too long; returns the tasks that must be released."""
        page, clock, shutdown, settlements = self._page, self._clock, self._shutdown, self.settlements
        prefetch_ran, task_ended, settled = self._prefetch.task_ran, self._interrupts.state.task_ended, settlements.rows
        envelopes, headers, verbose = self._reply.envelopes, self._reply.headers, self._verbose
        flush_bytes, run_it = settlements.flush_bytes, self._interrupts.run
        lease_bound, submits = frozenset(self._reply.lease_bound), self._submits
        runs = [self._functions.runner_of(kind, name) for _, name, kind, _ in envelopes]
        limits = [limit_s for *_, limit_s in envelopes]
        is_wrapped = bool(headers) or settlements.seals is not None
        done, done_s = 0, 0.0
        began = flushed = now = clock()
        try:
            for index, row in enumerate(rows):
                is_lease_bound = bool(lease_bound) and row[0] in lease_bound
                if shutdown.is_set or now - began >= RELEASE_S or (is_lease_bound and not self._has_lease()):
                    return self._not_begun(rows, index, OVER)
                begun = page.begin(index)
                if begun != BEGUN:
                    return self._not_begun(rows, index, begun)
                task_key, delivery, _, envelope, payload = row
                run = self._wrapped(runs[envelope], row) if is_wrapped else runs[envelope]
                ran = run_it(run, payload, limits[envelope], self._leased_at if is_lease_bound else None)
                if shutdown.is_forked:
                    os._exit(os.EX_OK)  # a child that the task forked has returned from the task: it settles nothing
                if self._notes:
                    settlements.take_notes(self._notes)
                before, now = now, clock()
                run_s = now - before
                prefetch_ran(run_s)
                task_ended(run_s)
                if type(ran) is bytes and not submits:
                    settled.append((task_key, delivery, 0, ran, run_s, ""))
                    settlements.size_bytes += len(ran)
                    done += 1
                    done_s += run_s
                    if verbose:
                        settlements.report_success(row, envelopes[envelope], headers.get(task_key, ()), run_s)
                else:
                    outcome = RunOutcome(Outcome.SUCCESS, ran) if isinstance(ran, bytes) else ran
                    of_task = headers.get(task_key, ())
                    settlements.add_outcome(row, envelopes[envelope], of_task, outcome, run_s, submits)
                    submits.clear()
                if now - flushed >= FLUSH_S or settlements.size_bytes >= flush_bytes:
                    page.rest()
                    if index + 1 < len(rows) and not self._flushed(connection):
                        return self._not_begun(rows, index + 1, OVER)
                    self._clear_blame()
                    now = flushed = clock()
            return ()
        finally:
            page.count_ended(done, 0, done_s)
            self.recycling.tasks_left -= done

    def _has_lease(self) -> bool:
        """Whether the batch's lease is known to hold; waits up to `LEASE_WAIT_S` for the supervisor to say so."""
        until_at = self._clock() + LEASE_WAIT_S
        while (now := self._clock()) >= self._page.lease_until_at and now < until_at and not self._shutdown.is_set:
            time.sleep(CHECK_S)
        return self._page.has_lease(self._leased_at, now)

    def _wrapped(self, run: PayloadRunner, row: LeasedTask) -> PayloadRunner:
        """What runs a task that is traced, or whose payload was sealed."""
        headers, seals = self._reply.headers.get(row[0]), self.settlements.seals
        run = traced(run, attempt_of(row, self._reply.envelopes[row[3]], headers)) if headers else run
        return run if seals is None else seals.run_of(row[0], run)

    def _not_begun(self, rows: Sequence[LeasedTask], index: int, begun: int) -> Sequence[LeasedTask]:
        """The tasks of a revoked batch that must still be released; to release one twice does no harm."""
        if not self._page.is_returned(self._page.position.batch):
            return rows[index:]
        return () if begun == OVER else rows[index : index + 1]

    def _flushed(self, connection: Connection) -> bool:
        """Settle between two tasks; False if that failed, which the next exchange will find out too."""
        try:
            with self._connection_lock:
                self._settle(connection)
        except DistqError:
            return False
        return True

    def _check(self) -> bool:
        """The flusher's look at the batch; False when there is nothing to look after."""
        page, settlements = self._page, self.settlements
        position = page.position
        if position.started < 0:
            self._quiet_checks += 1
            return self._is_working or self._quiet_checks < QUIET_CHECKS
        self._quiet_checks = 0
        now = self._clock()
        if position != self._last_position:
            self._last_position, self._last_position_at = position, now
            return True
        is_long = now - self._last_position_at >= RELEASE_S - CHECK_S
        if not page.is_returned(position.batch) and (self._shutdown.is_set or is_long):
            page.revoke(position.batch)
            settlements.release(page.unstarted(page.position))
            page.set_returned(position.batch)
        settlements.take_notes(self._notes)
        if settlements and (self._connection is None or not self._flushed(self._connection)):
            return False
        return not page.is_returned(position.batch)
