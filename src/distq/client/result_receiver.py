"""How results reach a client: read by whoever waits for one, or by a thread of their own.

One thread at a time has the role of the reader, and it reads for all. A caller that waits for its future takes it
if it is free: then no thread has to be woken for another one's sake, which on an idle machine takes longer than the
task. The thread here does the rest: it connects, it reads while nobody waits in `result()`, and it stands back
while callers come again and again.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any, Final, cast

from distq.client.lazy_future import is_settling_here
from distq.client.locks import CalledInside, OwnedLock
from distq.client.master_connection import CALL_S, MasterConnection
from distq.client.running_tasks import RunningTasks
from distq.client.streams import parts_of
from distq.core.errors import DistqError
from distq.core.task_ids import id_text
from distq.protocol.methods import ADMIN, BROKER, RESULTS
from distq.tasks.current import Progress
from distq.wire.errors import RemoteRefusal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from distq.client.callbacks import Callbacks
    from distq.client.control_connection import ControlConnection
    from distq.client.pending_futures import PendingFutures
    from distq.client.reader import Readable
    from distq.client.submit_sender import SubmitSender
    from distq.net.dial import Connection
    from distq.protocol.results import TaskEnd

RESULTS_WAIT_S: Final = 20.0
"""How long one call for results waits at the master."""
STAND_BACK_S: Final = 0.002
"""The thread looks so often whether callers still read for themselves: others' results wait no longer."""
LOOK_S: Final = 0.05
"""A caller that reads looks so often whether its future has ended in another way (refused, closed) ..."""
EARLY_LOOK_S: Final = 0.001
"""... and so often if there are outcomes of tasks whose submit's answer another thread reads just now."""
BUSY_POLL_S: Final = 0.0002
"""A caller whose last result came within this time looks about for the next one as long before it sleeps."""
PAUSE_S: Final = 0.1

_now = time.monotonic  # noqa: TID251 - the edge: a caller's deadlines


class ResultReceiver:
    """One client's results."""

    def __init__(
        self,
        master_connection: MasterConnection,
        pending: PendingFutures,
        sender: SubmitSender,
        control: ControlConnection,
        callbacks: Callbacks,
    ) -> None:
        self.master_connection = master_connection
        self._control = control
        self._callbacks = callbacks
        self._running = RunningTasks(control, pending)
        self.expected = threading.Event()
        """Set when there are results to wait for."""
        self._pending = pending
        self._sender = sender
        self.disowned = False
        """Whether a fork has copied this from the parent process, which alone reads."""
        self._read_lock = OwnedLock()
        """Had by the thread that reads."""
        self._is_waiting = False
        """Whether the caller that reads only waits: a signal handler in its thread may read in its place."""
        self._interruptions = 0
        """How often one has."""
        self._request_connection: Connection | None = None
        """Where a call for results is under way."""
        self._number = 0
        """The newest reply that was heard."""
        self._caller_reads = 0
        """How often callers have read for themselves."""
        self._is_busy = False
        """Whether the last result came so soon after it was asked for that it is better not to sleep."""
        self._caller_waits = False
        """Whether a caller would have liked to."""
        self._resume = threading.Event()
        """Set to have the thread read at once."""

    # -- by a caller ---------------------------------------------------------------------------

    @property
    def is_reading_here(self) -> bool:
        """Whether this very thread reads."""
        return self._read_lock.is_mine

    def catch_up(self) -> None:
        """Hear, if it can be heard soon, whether the master has accepted what is on its way."""
        self._sender.catch_up()

    def cancel(self, keys: Sequence[int], *, running: bool) -> bool:
        """Have the master cancel these tasks; whether it has cancelled all of them."""
        return self._control.cancel(keys, running=running)

    def progress(self, key: int) -> Progress | None:
        """How far a task is."""
        return self._control.progress(key)

    def is_running(self, key: int) -> bool:
        """Whether a task runs; False also where no master answers."""
        return self.master_connection.failure is None and self._running.has(key)

    def deadlock(self, task: str, key: int) -> str:
        """Why a task that waits for another one does so for ever; '' if it does not, or that is not known."""
        try:
            told = self._control.ask(ADMIN, "wait", {"task": task, "other": id_text(key)})
        except DistqError:  # no master at present, or one of a version before
            return ""
        return str(told["why"])

    def call_back(self, callbacks: Callable[[], None]) -> None:
        """Have a future's callbacks called by a thread of their own."""
        self._callbacks.call(callbacks)

    def stream(self, future: Readable, timeout_s: float | None) -> Iterator[Any]:
        """The parts of a task's stream."""
        return parts_of(self._control.open_another(), future, timeout_s)

    def read_until_done(self, future: Readable, timeout_s: float | None) -> float | None:
        """Read until the future is done, as far as no other thread reads; returns how much of the time is left.

        Raises CalledInside if the end cannot be heard before the call that was interrupted for this one goes on.
        """
        if self.disowned:
            return timeout_s
        if self._sender.is_sending_here or self._pending.is_locked_here() or is_settling_here():
            raise CalledInside("result() interrupted another call of the same client in this thread.")
        deadline = None if timeout_s is None else _now() + timeout_s
        if self._read_lock.is_mine:
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
        """Read in a signal handler that has interrupted the caller that reads, in the same thread."""
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
            wait_s = EARLY_LOOK_S if self._pending.has_early_ends else LOOK_S
            if deadline is not None:
                wait_s = min(wait_s, deadline - _now())
                if wait_s <= 0:
                    return
            try:
                self._request(connection)
                if self._waited(connection, wait_s):
                    self._read_answer(connection)
            except (DistqError, RemoteRefusal):
                return  # the thread meets it again, and knows what to do
            except BaseException:
                connection.close()  # interrupted in the middle of a frame, maybe; what was not heard comes again
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
        """Read, until closed."""
        link = self.master_connection
        while not link.closed:
            self._stand_back()
            self.expected.clear()
            try:
                with self._read_lock:
                    link.retry(self._read_once)
            except Exception as error:  # noqa: BLE001 - whatever it is, no caller shall wait for ever
                if link.closed:
                    return
                self._pending.fail(None, lambda _, error=error: error)  # type: ignore[misc] # bound now
                link.pause(PAUSE_S)
                if not self._pending:
                    self.expected.wait()

    def _read_once(self, connection: Connection) -> None:
        self._request(connection)
        self._read_answer(connection)

    def _stand_back(self) -> None:
        """Leave the reading to callers for as long as they come."""
        if not self._caller_waits:
            return
        self._caller_waits = False
        led = -1
        while led != self._caller_reads and not self._resume.is_set() and not self.master_connection.closed:
            led = self._caller_reads
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
        self._number = number  # only now: what is not heard is sent again

    def receive(self, rows: list[TaskEnd]) -> None:
        """Settle the futures of tasks that have ended."""
        if self._sender.has_direct_submit and not all(self._pending.knows(row[0]) for row in rows):
            self._sender.read_direct_answer()
        self._pending.receive(rows)
