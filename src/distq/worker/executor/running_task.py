"""One of the tasks that an executor runs at the same time: its row, its slot, and how it is interrupted."""

from __future__ import annotations

import ctypes
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from contextvars import ContextVar
from typing import TYPE_CHECKING, Final, TypeVar

from distq.worker.executor.exchange import lease_id_of
from distq.worker.executor.tracing import attempt_of

if TYPE_CHECKING:
    from distq.core.constraints import Headers
    from distq.protocol.exchange import LeasedEnvelope, LeasedTask, LeaseReply, Settlement
    from distq.tasks.tracing import Attempt
    from distq.worker.executor.unaccepted_submits import Submits


T = TypeVar("T")
POLL_S: Final = 0.0001
"""Pause in seconds between two looks at whether another thread has completed an interruption, a matter of µs."""


class RunningTask:
    """A task that runs in a thread or on the event loop.

    Other threads interrupt it by an exception that CPython raises between two instructions of its thread. From 3.14 on
    that can be between the `__enter__` of a lock and the block below it, and leaves the lock taken for ever. So the
    task's own thread takes no lock of ours while it can be interrupted: it marks that it leaves, and waits until an
    interruption that had begun before is complete.
    """

    __slots__ = (
        "_cancel",
        "_is_interrupting",
        "_is_open",
        "_lock",
        "_thread",
        "began_at",
        "cursor",
        "envelope",
        "headers",
        "is_lease_bound",
        "lease_id",
        "notes",
        "reason",
        "row",
        "slot",
        "submits",
    )

    def __init__(self, slot: int, row: LeasedTask, reply: LeaseReply, began_at: float) -> None:
        self.slot = slot
        self.row = row
        self.lease_id = lease_id_of(row)
        self.envelope: LeasedEnvelope = reply.envelopes[row[3]]
        self.began_at = began_at
        """By the machine's monotonic clock."""
        self.cursor: bytes | None = reply.cursors.get(row[0])
        """The checkpoint of an earlier attempt."""
        self.headers: Headers = reply.headers.get(row[0], ())
        self.is_lease_bound = row[0] in reply.lease_bound
        """Whether the task must end with its lease."""
        self.notes: dict[int, Settlement] = {}
        """Its newest progress and checkpoint, by outcome, until they are sent."""
        self.submits: Submits = deque()
        """Its submits that the master has not answered."""
        self.reason: BaseException | None = None
        """Why the task is interrupted; None while it is not."""
        self._is_open = True
        """Whether the task can be interrupted: not once its own code has ended."""
        self._is_interrupting = False
        self._lock = threading.Lock()
        self._thread: int | None = None
        self._cancel: Callable[[], object] | None = None

    @property
    def limit_s(self) -> float:
        """The task's time limit in seconds, 0 for none."""
        return self.envelope[3] or 0.0

    @property
    def attempt(self) -> Attempt:
        """What a trace records of this run."""
        return attempt_of(self.row, self.envelope, self.headers)

    def enter_thread(self) -> bool:
        """Note that the task's code runs in the present thread from now on; False if it must not begin any more."""
        with self._lock:
            self._thread, self._cancel = threading.get_ident(), None
            return self.reason is None

    def leave_thread(self) -> None:
        """Note that the task's code leaves its thread, and forget an exception that was not raised there yet."""
        thread, self._thread = self._thread, None
        self._forget_interruption(thread)

    def run_uninterrupted(self, function: Callable[[], T]) -> T:
        """Call a function that takes a lock; what interrupts the task meanwhile is raised when it has returned."""
        if self._thread != threading.get_ident():
            return function()
        self.leave_thread()
        try:
            return function()
        finally:
            if not self.enter_thread():
                assert self.reason is not None
                raise self.reason

    def enter_loop(self, cancel: Callable[[], object]) -> bool:
        """Note that the task runs on the loop, where `cancel` interrupts it; False if it must not begin any more."""
        with self._lock:
            self._cancel = cancel
            return self.reason is None

    def interrupt(self, reason: BaseException) -> None:
        """Raise an exception of this class in the task's thread, or cancel it on the loop; the first reason counts."""
        with self._lock:
            self._is_interrupting = True  # before it is looked whether the task is there: see `_forget_interruption`
            try:
                thread = self._thread
                if not self._is_open or self.reason is not None:
                    return
                self.reason = reason
                if self._cancel is not None:
                    with suppress(RuntimeError):  # the loop is closed
                        self._cancel()
                elif thread is not None:
                    _raise_in(thread, type(reason))
            finally:
                self._is_interrupting = False

    def close(self) -> None:
        """Note that the task's own code has ended, and forget an exception that was not raised in it yet."""
        self._is_open = False
        self._forget_interruption(self._thread)

    def _forget_interruption(self, thread: int | None) -> None:
        """Take back what another thread may have had raised in this one before it saw that the task has left."""
        while self._is_interrupting:
            time.sleep(POLL_S)
        if thread is not None and self.reason is not None:
            _raise_in(thread, None)


running_task: ContextVar[RunningTask | None] = ContextVar("running_task", default=None)
"""The task whose code runs in the present context; None outside of tasks."""


def _raise_in(thread: int, kind: type[BaseException] | None) -> None:
    """Have an exception raised in a thread at its next step in Python; None takes back one that was not raised yet.

    https://docs.python.org/3/c-api/init.html#c.PyThreadState_SetAsyncExc
    """
    exception = None if kind is None else ctypes.py_object(kind)
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), exception)
