"""The receiver of a client's results: a caller that waits in `result()` reads them, or the receiver thread does.

One thread at a time is the reader, and it reads the results of all futures. A caller that waits for its future becomes
the reader if there is none: then no thread has to wake another one, which on an idle machine takes longer than the
task. The receiver thread does the rest: it connects, it reads while no caller waits in `result()`, and it pauses while
callers keep reading.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any, Final, cast

from distq.client import control_steps
from distq.client.forks import notice
from distq.client.lazy_future import is_settling_here
from distq.client.locks import CalledInside, OwnedLock
from distq.client.master_connection import CALL_S, MasterConnection
from distq.client.running_tasks import RunningTasks
from distq.client.streams import parts_of
from distq.core.errors import DistqError
from distq.protocol.methods import BROKER, RESULTS
from distq.tasks.current import Progress
from distq.wire.errors import RemoteRefusal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from distq.client.callbacks import Callbacks
    from distq.client.control_connection import ControlConnection
    from distq.client.future import TaskFuture
    from distq.client.pending_futures import PendingFutures
    from distq.client.reader import Readable
    from distq.client.submit_sender import SubmitSender
    from distq.net.dial import Connection
    from distq.protocol.results import TaskEnd

RESULTS_WAIT_S: Final = 20.0
"""Maximum seconds that one call for results waits at the master."""
STAND_BACK_S: Final = 0.002
"""Seconds between two checks of the receiver thread whether callers still read; the longest delay of other results."""
POLL_S: Final = 0.05
"""Seconds between two checks of a reading caller whether its future has ended in another way (refused, closed)."""
EARLY_END_POLL_S: Final = 0.001
"""The same interval while there are early ends: another thread is reading the answer to their submit."""
BUSY_POLL_S: Final = 0.0004
"""Seconds that a caller polls for the next result before it sleeps, if the last result came within this time."""
PAUSE_S: Final = 0.1
"""Seconds that the receiver thread pauses after an error that no new connection ends."""

_now = time.monotonic  # noqa: TID251 - the edge: a caller's deadlines


class ResultReceiver:
    """Reads one client's results and settles its futures."""

    def __init__(
        self,
        master_connection: MasterConnection,
        pending: PendingFutures[TaskFuture[Any]],
        sender: SubmitSender,
        control: ControlConnection,
        callbacks: Callbacks,
    ) -> None:
        self.master_connection = master_connection
        self._control = control
        self._callbacks = callbacks
        self._running = RunningTasks(pending)
        self.expected = threading.Event()
        """Set when there are results to wait for."""
        self._pending = pending
        self._sender = sender
        self._is_disowned = False
        self._read_lock = OwnedLock()
        """Held by the thread that reads."""
        self._is_waiting = False
        """Whether the caller that reads is only waiting: then a signal handler in its thread may read in its place."""
        self._interruptions = 0
        """The number of times that a signal handler has read in a caller's place."""
        self._request_connection: Connection | None = None
        """The connection on which a call for results is in flight."""
        self._number = 0
        """The number of the newest reply that was received completely."""
        self._caller_reads = 0
        """The number of times that a caller became the reader."""
        self._is_busy = False
        """Whether the last result came within BUSY_POLL_S, so that the next wait polls before it sleeps."""
        self._caller_waits = False
        """Whether a caller could not become the reader, because another thread was."""
        self._resume = threading.Event()
        """Set to have the receiver thread read immediately."""

    # -- by a caller ---------------------------------------------------------------------------

    @property
    def disowned(self) -> bool:
        """Whether this is a copy made by a fork; only the parent process reads."""
        notice()
        return self._is_disowned

    def disown(self) -> None:
        """Note that this is a copy made by a fork."""
        self._is_disowned = True

    @property
    def is_reading_here(self) -> bool:
        """Whether the current thread reads."""
        return self._read_lock.is_mine()

    def catch_up(self) -> None:
        """Wait a short time until the master has answered the submits that are in flight."""
        self._sender.catch_up()

    def cancel(self, keys: Sequence[int], *, running: bool) -> bool:
        """Have the master cancel these tasks; returns whether it has cancelled all of them."""
        return self._control.run(control_steps.cancel(keys, running=running))

    def progress(self, task_key: int) -> Progress | None:
        """The progress that a task has reported; None if there is none."""
        return self._control.run(control_steps.progress(task_key))

    def is_running(self, task_key: int) -> bool:
        """Whether a task runs; False also if no master answers."""
        return self.master_connection.failure is None and self._control.run(self._running.has(task_key))

    def deadlock(self, task: str, task_key: int) -> str:
        """The reason why a task that waits for another task waits for ever; '' if it does not, or that is not known."""
        return self._control.run(control_steps.deadlock(task, task_key))

    def call_back(self, callbacks: Callable[[], None]) -> None:
        """Have the callbacks thread call a future's callbacks."""
        self._callbacks.call(callbacks)

    def stream(self, future: Readable, timeout_s: float | None) -> Iterator[Any]:
        """The parts of a task's stream."""
        return parts_of(self._control.open_another(), future, timeout_s)

    def read_until_done(self, future: Readable, timeout_s: float | None) -> float | None:
        """Read until the future is done, unless another thread reads; returns the seconds that remain of `timeout_s`.

        Raises CalledInside if the result cannot be received before the call that this one interrupted continues.
        """
        if self.disowned:
            return timeout_s
        if self._sender.is_sending_here or self._pending.is_locked_here() or is_settling_here():
            raise CalledInside("result() interrupted another call of the same client in this thread.")
        deadline = None if timeout_s is None else _now() + timeout_s
        if self._read_lock.is_mine():
            self._read_in_place(future, deadline)
        elif not self._read_lock.acquire(0):
            self._caller_waits = True
        else:
            try:
                self._caller_reads += 1
                self._read_for(future, deadline)
            finally:
                self._read_lock.release()
                if self._caller_waits or not future.has_ended:
                    self._resume.set()
        return None if deadline is None else max(deadline - _now(), 0.0)

    def _read_in_place(self, future: Readable, deadline: float | None) -> None:
        """Read in a signal handler that has interrupted the reading caller in the same thread."""
        if not self._is_waiting:
            raise CalledInside("result() interrupted the reading of another result in this thread.")
        connection = self.master_connection.connection
        self._is_waiting = False
        self._interruptions += 1
        try:
            if connection is not None and connection.fileno() >= 0:
                with connection.interrupted():
                    self._read_for(future, deadline)
        finally:
            self._is_waiting = True
        if not future.has_ended and (deadline is None or _now() < deadline):
            raise CalledInside("The connection broke, and is made anew once the signal handler has returned.")

    def _read_for(self, future: Readable, deadline: float | None) -> None:
        while not future.has_ended and (connection := self.master_connection.connection) is not None:
            wait_s = EARLY_END_POLL_S if self._pending.has_early_ends else POLL_S
            if deadline is not None:
                wait_s = min(wait_s, deadline - _now())
                if wait_s <= 0:
                    return
            try:
                self._request(connection)
                if self._waited(connection, wait_s):
                    self._read_answer(connection)
            except (DistqError, RemoteRefusal):
                return  # the receiver thread gets the same error, and handles it
            except BaseException:
                connection.close()  # perhaps in the middle of a frame; the master sends unconfirmed results again
                raise

    def _waited(self, connection: Connection, wait_s: float) -> bool:
        """Wait for an answer; False if none came, or a signal handler has read it."""
        interruptions = self._interruptions
        began = _now()
        self._is_waiting = True
        try:
            came = self._is_busy and connection.busy_wait(min(wait_s, BUSY_POLL_S))
            came = came or connection.wait((), timeout_s=wait_s)
        finally:
            self._is_waiting = False
        self._is_busy = came and _now() - began < BUSY_POLL_S
        return came and interruptions == self._interruptions

    # -- the thread ----------------------------------------------------------------------------

    def run(self) -> None:
        """Read until the client is closed; the receiver thread runs this."""
        connection = self.master_connection
        while not connection.closed:
            self._stand_back()
            self.expected.clear()
            try:
                with self._read_lock:
                    connection.retry(self._read_once)
            except Exception as error:  # noqa: BLE001 - after any error, no caller shall wait for ever
                if connection.closed:
                    return
                self._pending.fail(None, lambda _, error=error: error)  # type: ignore[misc] # bound now
                connection.pause(PAUSE_S)
                if not self._pending:
                    self.expected.wait()

    def _read_once(self, connection: Connection) -> None:
        self._request(connection)
        self._read_answer(connection)

    def _stand_back(self) -> None:
        """Wait while callers keep reading, until none has read for STAND_BACK_S."""
        if not self._caller_waits:
            return
        self._caller_waits = False
        caller_reads = -1
        while caller_reads != self._caller_reads and not self._resume.is_set() and not self.master_connection.closed:
            caller_reads = self._caller_reads
            self._resume.wait(STAND_BACK_S)
        self._resume.clear()

    # -- both ----------------------------------------------------------------------------------

    def _request(self, connection: Connection) -> None:
        if self._request_connection is not connection:
            connection.ask(BROKER, RESULTS, (self._number, RESULTS_WAIT_S), timeout_s=CALL_S)
            self._request_connection = connection

    def _read_answer(self, connection: Connection) -> None:
        try:
            reply = connection.answer(timeout_s=RESULTS_WAIT_S + CALL_S)
        finally:
            self._request_connection = None  # a refusal is an answer too
        number, rows = cast("tuple[int, list[TaskEnd]]", reply)
        self.receive(rows)
        self._number = number  # last: the master sends a reply again whose number it did not get back

    def receive(self, rows: list[TaskEnd]) -> None:
        """Settle the futures of tasks that have ended."""
        if self._sender.has_direct_submit and not self._pending.knows_all(rows):
            self._sender.read_direct_answer()
        self._pending.receive(rows)
