"""`distq.TaskFuture`: the future of one task. Results of up to a thousand tasks are set under one lock."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import CancelledError
from concurrent.futures._base import CANCELLED, CANCELLED_AND_NOTIFIED, FINISHED, PENDING
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from distq.client.callbacks import call_safely
from distq.client.future_state import CANCELLED_HERE, FutureState
from distq.client.inside_task import wait_inside_task
from distq.client.lazy_future import LazyFuture, shared_lock
from distq.client.outcome import FailedOutcome, opened
from distq.client.timeouts import Timeout, timeout_s
from distq.core.errors import DistqError
from distq.core.states import SUCCEEDED
from distq.core.task_ids import id_text
from distq.tasks import access
from distq.tasks.current import Progress

if TYPE_CHECKING:
    from distq.client.reader import Reader
    from distq.protocol.results import TaskEnd

R = TypeVar("R")
F = TypeVar("F", bound=FutureState[Any])


class FutureOfParent(DistqError, RuntimeError):
    """The future was made before a fork: only the parent process receives the outcome of its task."""

    code = "FUTURE_OF_PARENT"
    hint = "Submit the task again here, or get its future by its id with client.future(id)."
    exit_code = 2


class TaskFuture(LazyFuture[R]):
    """A `concurrent.futures.Future` of a task; it unpickles the result when the program reads it."""

    def __init__(self, reader: Reader | None = None, name: str = "") -> None:
        self._reader = reader
        """Reads results in the thread that waits for this one; None for a future without a client."""
        self._name = name

    def _check_fork(self) -> None:
        """In a forked child, fail a future without an outcome and drop its lock, which another thread may have held."""
        if self._reader is None or not self._reader.disowned:
            return
        self._reader = None
        self._own_condition = self._own_waiters = self._own_callbacks = None
        if not self.has_ended:
            of_task = "" if self.task_key is None else f" of task {id_text(self.task_key)}"
            self._exception = FutureOfParent(f"The future{of_task} was made before a fork, by process {os.getppid()}.")
            self._state = FINISHED

    def _stage(self) -> str:
        if self._reader is not None and self._reader.disowned:
            return "of the parent process"
        return super()._stage()

    def running(self) -> bool:
        """Whether the task runs.

        The client asks the master, at most ten times a second, about up to 5,000 of its tasks in one call.
        """
        reader = self._reader
        self._is_running = (
            reader is not None and self.task_key is not None and not self.has_ended and reader.is_running(self.task_key)
        )
        return self._is_running

    def cancel(self) -> bool:
        """Cancel the task unless it runs or has ended; returns whether it is cancelled.

        No executor begins a cancelled task. The call does not wait for the task; it takes one round trip to the master.
        """
        return self._cancel(running=False)

    def abort(self) -> bool:
        """Cancel the task even if it runs: TaskStopped is raised in it; its executor is killed if it runs 2 s later.

        Returns whether the task is cancelled: False if it has ended, or if no master answers.
        """
        return self._cancel(running=True)

    def claim(self) -> None:
        """Note that the master has the task: only the master can cancel it."""
        claim([self])

    def _cancel(self, *, running: bool) -> bool:
        self._check_fork()
        if self._state == PENDING and claim([self]):
            self.withdraw()
            return True
        reader = self._reader
        if reader is not None and not self.has_ended:
            if self.task_key is None:
                reader.catch_up()
            if self.task_key is not None and reader.cancel([self.task_key], running=running):
                self.withdraw()
        return self.cancelled()

    def progress(self) -> Progress | None:
        """The last report of `distq.current().progress(...)`; None if the task has reported nothing, or has ended.

        Takes one round trip to the master.

        Raises:
            CannotReach, ConnectionLost: no master answers.
        """
        if self._reader is None or self.task_key is None or self.has_ended:
            return None
        return self._reader.progress(self.task_key)

    def stream(self, timeout: Timeout = None) -> Iterator[Any]:
        """Yield the values that the task, a generator function, yields, from the first one on.

        The master keeps them for as long as the result. Another attempt begins the generator again; values with numbers
        that the master has already are not stored twice.

        Args:
            timeout: the longest wait for each value.

        Raises:
            TimeoutError: the next value does not arrive before the timeout.
            TaskPartsGone: the master no longer keeps the next value.
            CannotReach, ConnectionLost: no master answers for 30 s.

        After the last value it raises what `result` raises.
        """
        self._check_fork()
        try:
            if self._reader is not None:
                yield from self._reader.stream(self, timeout_s(timeout))
            elif self._exception is not None:
                raise self._exception.with_traceback(None)
        finally:
            del self  # as in `result`

    def withdraw(self) -> None:
        """Note that the task is cancelled, and wake the threads that wait for it."""
        if self._set_cancelled():
            self._call_back()

    def _withdrawn_by_master(self) -> None:
        if self._set_cancelled():
            self._call_back_elsewhere()

    def _set_cancelled(self) -> bool:
        with self._condition:
            if self.has_ended:
                return False
            self._state = CANCELLED_AND_NOTIFIED
            for waiter in self._waiters:
                waiter.add_cancelled(self)
            self._condition.notify_all()
        return True

    def _call_back(self) -> None:
        """Call the callbacks in this thread, also after one that raises SystemExit, which the base class passes on."""
        for callback in self._own_callbacks or ():
            call_safely(partial(callback, self))

    def _call_back_elsewhere(self) -> None:
        """Call the callbacks in the client's thread for them: a callback may wait for another result."""
        if self._own_callbacks:
            if self._reader is None:
                self._call_back()
            else:
                self._reader.call_back(self._call_back)

    def result(self, timeout: Timeout = None) -> R:
        """Return what the task returned, or raise what it raised.

        Raises:
            TimeoutError: the task has not ended before the timeout.
            CancelledError: this client cancelled the task (`concurrent.futures.CancelledError`).
            TaskCancelled: an operator or another program cancelled the task.
            TaskFailed: the task failed, and its exception cannot be rebuilt in this program.
            TaskExpired: the task expired before an executor could begin it.
            TaskLost: the master no longer has the task.
            ResultUnreadable: the task succeeded, and its result cannot be unpickled in this program.
            ResultRefused: the outcome is not signed, or encrypted with a key that this client does not have.
            ResultNotSent: the task ran to its end, and its executor could not send the result.
            RefusedSubmit: the master refused the task: TaskExists, QueueFull, TasksFull and others.
            NoSlotLeft: this code is a task, and tasks that wait hold every slot on which the other task could run.
        """
        if self._state != FINISHED:
            left_s = None if timeout is None else timeout_s(timeout)
            if self._reader is not None and not self.has_ended:
                left_s = wait_inside_task(self, self._reader, left_s)
            if self._state != FINISHED:  # else no condition is needed, which costs as much as the rest of this method
                self.wait_until_ended(left_s)
        if self._packed is not None:
            self._unpickle(self._packed)
        if self._exception is not None:
            self._mark_seen()
            # As in the standard library: the traceback must not keep this frame, and with it the future, alive.
            try:
                raise self._exception.with_traceback(None)
            finally:
                del self
        return self._result  # type: ignore[return-value] # finished without an exception: it is an R

    def wait_until_ended(self, limit_s: float | None) -> None:
        """Wait for the outcome, at most `limit_s` seconds; raises CancelledError, TimeoutError."""
        condition = self._condition
        with condition:
            if not self.has_ended:
                condition.wait(limit_s)
        if self._state in (CANCELLED, CANCELLED_AND_NOTIFIED):
            raise CancelledError(CANCELLED_HERE)
        if self._state != FINISHED:
            raise TimeoutError

    def wait_for_end(self, limit_s: float) -> None:
        """Wait for the outcome, as `result` does, at most `limit_s` seconds; raises NoSlotLeft, and nothing else."""
        if access.access is not None and self._reader is not None:
            limit_s = wait_inside_task(self, self._reader, limit_s) or 0.0
        with suppress(TimeoutError, CancelledError):
            self.wait_until_ended(limit_s)

    def exception(self, timeout: Timeout = None) -> BaseException | None:
        """Return what `result` raises, None if the task succeeded; raises TimeoutError and CancelledError itself."""
        left_s = timeout_s(timeout)
        if access.access is not None and self._reader is not None:
            left_s = wait_inside_task(self, self._reader, left_s)
        self.wait_until_ended(left_s)
        if self._packed is not None:
            # `asyncio.wrap_future` up to Python 3.14 reads the result of a future whose exception is None.
            self._unpickle(self._packed)
        if self._exception is not None:
            self._mark_seen()
        return self._exception

    def packed_outcome(self, limit_s: float | None) -> bytes | FailedOutcome:
        """The outcome as its executor wrote it, opened if it was sealed; nothing of it is unpickled.

        Raises TimeoutError, CancelledError, ResultRefused, or the error with which the client failed the future.
        """
        self.wait_until_ended(limit_s)
        self._mark_seen()
        if self._packed is None:
            error = self._exception or AssertionError("the outcome was unpickled before")
            raise error.with_traceback(None)
        return opened(self._packed, self.task_key, self.reads)

    def _get_snapshot(self) -> tuple[bool, bool, R | None, BaseException | None]:
        """Done, cancelled, result, exception: asyncio reads these from Python 3.15 on, instead of calling `result`."""
        self._check_fork()
        state = self._state
        if state == FINISHED:
            if self._packed is not None:
                self._unpickle(self._packed)
            if self._exception is not None:
                self._mark_seen()
            return True, False, self._result, self._exception
        is_cancelled = state in (CANCELLED, CANCELLED_AND_NOTIFIED)
        return is_cancelled, is_cancelled, None, None

    def _finish(self, body: bytes | FailedOutcome | None, error: BaseException | None) -> None:
        with shared_lock():
            if self.has_ended:
                return  # this client cancelled it, or the master sent the outcome twice
            condition = self._own_condition
            if condition is None:
                self._packed, self._exception = body, error
                self._state = FINISHED
        if condition is not None:
            with condition:
                if self.has_ended:
                    return
                self._packed, self._exception = body, error
                self._state = FINISHED
                failed = not isinstance(body, bytes)
                for waiter in self._waiters:
                    (waiter.add_exception if failed else waiter.add_result)(self)
                condition.notify_all()
        self._call_back_elsewhere()


def claim(futures: Iterable[F]) -> list[F]:
    """Claim futures, to send or to cancel their tasks; returns those that no other thread has claimed before."""
    claimed = []
    with shared_lock():
        for future in futures:
            if not future._claimed:  # noqa: SLF001 - this module's own class
                future._claimed = True  # noqa: SLF001
                claimed.append(future)
    return claimed


def cancel_all(futures: Sequence[TaskFuture[Any]], *, running: bool = False) -> None:
    """Cancel all tasks, by default only those that do not run, in as few calls as possible."""
    for future in futures:
        future._check_fork()  # noqa: SLF001 - this module's own class
    for future in claim(future for future in futures if not future.has_ended):
        future.withdraw()
    for reader in {future._reader for future in futures if future.task_key is None and not future.has_ended}:  # noqa: SLF001
        if reader is not None:
            reader.catch_up()
    accepted: dict[Reader, list[int]] = {}
    for future in futures:
        if not future.has_ended and future.task_key is not None and future._reader is not None:  # noqa: SLF001 - as above
            accepted.setdefault(future._reader, []).append(future.task_key)  # noqa: SLF001
    for reader, keys in accepted.items():
        reader.cancel(keys, running=running)


def settle_all(ended: Iterable[tuple[TaskFuture[Any], TaskEnd]]) -> None:
    """Set many outcomes; results for which no thread waits are set under one lock."""
    others = []
    with shared_lock():
        for future, row in ended:
            is_open = future._own_condition is None and future._state == PENDING  # noqa: SLF001 - this module's own class
            if is_open and row[1] == SUCCEEDED:
                future._packed = row[2]  # noqa: SLF001
                future._state = FINISHED  # noqa: SLF001
            else:
                others.append((future, row))
    for future, (_, state, body, causes) in others:
        future.settle(state, body, causes)
