"""The sender of a client's submits: the calling thread sends a single task, the sender thread sends batches.

Submits made in a loop travel in batches without a timer: while one batch is in flight, the outbox collects the next.
The calling thread sends a single submit itself. Its answer is read by the thread that receives the task's result, or
by the sender thread, which looks for it a few ms later. Waking one thread to send and one to read would cost more than
the master's work for the task.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from distq.client.future import TaskFuture, claim
from distq.client.locks import OwnedLock
from distq.client.master_connection import CALL_S, MasterConnection, is_connection_error
from distq.client.outbox import Outbox, PendingSubmit
from distq.client.steps import MasterCall, run
from distq.client.submit_steps import PatientSubmit, SubmitSteps, submitted
from distq.core.errors import DistqError
from distq.net.dial import CannotReach
from distq.protocol.methods import BROKER, SUBMIT
from distq.tasks import access

if TYPE_CHECKING:
    from distq.client.control_connection import ControlConnection
    from distq.client.pending_futures import PendingFutures
    from distq.client.stuck_tasks import StuckTasks
    from distq.net.dial import Connection

ANSWER_WAIT_S: Final = 1.0
"""Maximum seconds that a thread with an unknown task's result waits while another thread uses the connection."""
CATCH_UP_S: Final = 0.25
"""Maximum seconds that a cancel waits until the master has accepted the tasks that were sent just before."""
DIRECT_POLL_S: Final = 0.005
"""Seconds after which the sender thread looks for the answer to a direct submit."""
DIRECT_BYTES_MAX: Final = 64 * 1024
"""Maximum bytes of a direct submit's body: they fit a socket's buffer, so that sending never waits for the master."""

_now = time.monotonic  # noqa: TID251 - the edge: how long a submit has waited for room


class DirectSubmit(NamedTuple):
    """A submit of one task that its caller has sent, and whose answer was not read yet."""

    number: int
    connection: Connection
    batch: list[PendingSubmit[TaskFuture[Any]]]
    args: tuple[object, ...]


class SubmitSender:
    """Sends one client's submits; the master accepts each of them once, also if it is sent again."""

    def __init__(
        self,
        master_connection: MasterConnection,
        outbox: Outbox,
        pending: PendingFutures[TaskFuture[Any]],
        steps: SubmitSteps[TaskFuture[Any]],
        wait_s: float,
        on_settled: Callable[[], None],
        on_idle: Callable[[], None],
        stuck_tasks: StuckTasks,
        control: ControlConnection,
    ) -> None:
        self.master_connection = master_connection
        self.retry_requested = threading.Event()
        """Set by a new submit, so that the sender thread connects again after the master refused it (a wrong key)."""
        self._outbox = outbox
        self._pending = pending
        self._wait_s = wait_s
        self._on_settled = on_settled
        self._on_idle = on_idle
        self._stuck_tasks = stuck_tasks
        self._control = control
        self.steps = steps
        self._connection_lock = OwnedLock()
        """Held by the thread that uses the connection."""
        self._direct: DirectSubmit | None = None
        self._number_at_last_wait = 0
        self._asleep = True
        """Whether the sender thread waits without looking for the answer to a direct submit."""

    # -- by the caller -------------------------------------------------------------------------

    @property
    def busy(self) -> bool:
        """Whether a thread uses the connection."""
        return self._connection_lock.is_held

    @property
    def is_sending_here(self) -> bool:
        """Whether the current thread is in the middle of a submit."""
        return self._connection_lock.is_mine()

    def send_immediately(self, submit: PendingSubmit[TaskFuture[Any]]) -> bool:
        """Send one task from the calling thread; False if it must go through the outbox."""
        if len(submit.body) > DIRECT_BYTES_MAX or access.access is not None or not self._connection_lock.acquire(0):
            return False  # a task's submits go through the outbox, whose sender finds out whether a queue is full
        try:
            connection = self.master_connection.connection
            if connection is None or self._outbox or not claim((submit.future,)):
                return False
            self.steps.number += 1
            number = self.steps.number
            args = (number, [submit.options.envelope], [submit.entry(0, 1)], [submit.body], self._wait_s)
            asked = DirectSubmit(number, connection, [submit], args)

            def ask() -> None:
                self._direct = asked
                self._pending.begin(number, 1)
                if self._asleep:
                    self._outbox.wake()
                connection.ask(BROKER, SUBMIT, args, timeout_s=CALL_S)

            _or_close(connection, ask)
        finally:
            self._connection_lock.release()
        return True

    def send_now(self, batch: Sequence[PendingSubmit[TaskFuture[Any]]], wait_s: float) -> None:
        """Submit tasks together and wait until the master accepts all or refuses all; up to `wait_s` for a full queue.

        The client awaits the end of the last task only. Raises QueueFull if the queue is still full after `wait_s`, or
        the error for any other refusal.
        """
        claim([batch[-1].future])
        submit = PatientSubmit(self.steps, batch, wait_s)
        while not self.master_connection.closed:
            with self._for_caller():  # one slice at a time: other threads submit to queues that have room
                answer = run(submit.next_slice(), self._ask)
            if submit.is_over(answer):
                return
        raise CannotReach("the client was closed before the task was accepted.")

    @contextmanager
    def _for_caller(self) -> Iterator[None]:
        """Hold the connection for a caller's call. The answer to a direct submit is next on the wire: read it first."""
        with self._connection_lock:
            try:
                self._finish_direct()
                yield
            except BaseException:
                # Ctrl-C may have interrupted this in the middle of a frame: the connection cannot be used any more.
                if (connection := self.master_connection.connection) is not None:
                    connection.close()
                raise

    def watch(self, keys: Sequence[int]) -> None:
        """Ask the master to report the ends of tasks that it already has."""
        with self._for_caller():
            run(self._pending.ask_about(keys), self._ask)

    def read_direct_answer(self) -> None:
        """Read the answer to the direct submit; not if it was read, or the connection stays busy for ANSWER_WAIT_S."""
        if self._direct is None or self._connection_lock.is_mine() or not self._connection_lock.acquire(ANSWER_WAIT_S):
            return
        try:
            asked = self._direct
            if asked is None:
                return
            connection = asked.connection

            def read_reply() -> bool:
                self._settle(asked, lambda: connection.answer(timeout_s=CALL_S))
                return True

            if _or_close(connection, read_reply):
                self._direct = None
        finally:
            self._connection_lock.release()

    def catch_up(self) -> None:
        """Wait up to CATCH_UP_S until the sender thread has read the answers to all submits that are in flight."""
        if self._outbox and not self._connection_lock.is_mine():
            self._outbox.wake()
            self._outbox.wait_until_empty(CATCH_UP_S)

    @property
    def has_direct_submit(self) -> bool:
        """Whether there is a direct submit whose answer was not read."""
        return self._direct is not None

    # -- the thread ----------------------------------------------------------------------------

    def run(self) -> None:
        """Send the tasks of the outbox until the client is closed; the sender thread runs this."""
        link, outbox = self.master_connection, self._outbox
        while not link.closed:
            try:
                with self._connection_lock:
                    link.connect()
                    self._finish_direct()
                    sent = self._send_batch()
                if not sent and not self._wait():
                    break
            except Exception as error:  # noqa: BLE001 - after any error, no caller shall wait for ever
                with self._connection_lock:
                    self._refuse_direct(error)
                if link.closed:
                    return
                if not link.is_up:  # a wrong key is tried again only after another submit
                    self.steps.fail_unsent(error)
                    self.retry_requested.wait()
            self.retry_requested.clear()
        outbox.close()
        self._refuse_direct(CannotReach("the client was closed before the task was accepted."))
        link.send_goodbye()

    def _wait(self) -> bool:
        """Wait for a task, or for DIRECT_POLL_S if there was a direct submit since the last wait; False once closed."""
        self._on_idle()
        idle = self._direct is None and self.steps.number == self._number_at_last_wait
        self._number_at_last_wait = self.steps.number
        self._asleep = idle
        self._control.run(self._stuck_tasks.look())
        # Read `_direct` again: a caller that sends directly sets it first, and then reads `_asleep`.
        return self._outbox.wait_for_tasks(
            self._stuck_tasks.pause_s() if idle and self._direct is None else DIRECT_POLL_S
        )

    def _finish_direct(self) -> None:
        """Read the answer to the direct submit; send the submit again if the connection was lost."""
        asked = self._direct
        if asked is None:
            return

        def answer(connection: Connection) -> object:
            self._pending.begin(asked.number, 1)  # its caller may have been interrupted before that
            if connection is asked.connection:
                return connection.answer(timeout_s=self._wait_s + CALL_S)
            return connection.call(BROKER, SUBMIT, asked.args, timeout_s=self._wait_s + CALL_S)

        if not self._pending.is_over(asked.number):  # else its caller was interrupted after it had read the answer
            self._settle(asked, lambda: self.master_connection.retry(answer))
        self._direct = None

    def _settle(self, asked: DirectSubmit, ask: Callable[[], object]) -> None:
        """Accept or refuse the direct submit as its answer says."""
        answer = run(submitted(asked.args, self._wait_s), lambda _: ask())
        run(self.steps.settle(asked.number, asked.batch, answer), self._ask)

    def _ask(self, request: MasterCall) -> Any:
        return self.master_connection.call(request.method, request.args, request.wait_s)

    def _send_batch(self) -> bool:
        """Send the next tasks of the outbox; False if there are none."""
        batch = self._outbox.take_batch()
        if not batch:
            return False
        run(self.steps.send_batch(batch), self._ask)
        return True

    # -- refused and unsent tasks --------------------------------------------------------------

    def _refuse_direct(self, error: Exception) -> None:
        asked, self._direct = self._direct, None
        if asked is not None:
            self.steps.refuse(asked.batch, error)
            self._pending.refuse(asked.number)
            self._on_settled()


def _or_close(connection: Connection, use: Callable[[], Any]) -> Any:
    """Use a connection in a caller's thread; None if it is lost: the sender thread detects that and connects again.

    Ctrl-C may interrupt the caller in the middle of a frame; no thread can use the connection then, so it is closed.
    """
    try:
        return use()
    except DistqError as error:
        if not is_connection_error(error):
            raise
        return None
    except BaseException:
        connection.close()
        raise
