"""The future of one task; a thousand results are set under one lock."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import CancelledError
from concurrent.futures._base import CANCELLED, CANCELLED_AND_NOTIFIED, FINISHED, PENDING
from typing import TYPE_CHECKING, Any, TypeVar

from distq.client.inside_task import wait_inside_task
from distq.client.lazy_future import LazyFuture, shared_lock
from distq.client.outcome import FailedOutcome, unpacked
from distq.client.timeouts import Timeout, timeout_s
from distq.core.errors import DistqError
from distq.core.states import CANCELLED as TASK_CANCELLED
from distq.core.states import SUCCEEDED
from distq.core.task import BY_CLIENT
from distq.core.task_ids import id_text
from distq.tasks import access
from distq.tasks.current import Progress

if TYPE_CHECKING:
    from distq.client.reader import Reader
    from distq.client.refusals import UnseenRefusal
    from distq.client.state_machine import Row

R = TypeVar("R")

CANCELLED_PER_CALL = 10_000
"""As many keys as a master takes in one call."""


class FutureOfParent(DistqError, RuntimeError):
    """The future was made before a fork: the parent process hears how its task ends, this one does not."""

    code = "FUTURE_OF_PARENT"
    hint = "Submit again here, or ask for it by its id with client.future(id)."
    exit_code = 2


class TaskFuture(LazyFuture[R]):
    """A `concurrent.futures.Future` of a task. Its result is unpickled when it is asked for."""

    _claimed: bool = False
    """Whether the task is on its way to the master, or was cancelled before that: either, never both."""
    task_key: int | None = None
    """The task's key, None until the master has accepted it."""
    unseen: UnseenRefusal | None = None
    """Of a submit that was refused: whether any code has looked at that."""
    _packed: bytes | FailedOutcome | None = None
    """The outcome until it is asked for: a result that is not unpickled, or an end without one."""
    _is_running: bool = False
    """Whether the task ran when the master was asked last."""

    def __init__(self, reader: Reader | None = None, name: str = "") -> None:
        self._reader = reader
        """Who can wait for the task's end in the thread that asks for its result."""
        self._name = name

    def _check_fork(self) -> None:
        """In a forked child: what has no outcome gets none here, and a thread of the parent may hold the condition."""
        if self._reader is None or not self._reader.disowned:
            return
        self._reader = None
        self._own_condition = self._own_waiters = self._own_callbacks = None
        if not self.has_ended:
            known = "" if self.task_key is None else f" of task {id_text(self.task_key)}"
            self._exception = FutureOfParent(f"The future{known} was made before a fork, by process {os.getppid()}.")
            self._state = FINISHED

    def __repr__(self) -> str:
        """Name, id and state, as far as they are known here."""
        words = [type(self).__name__, self._name, self.task_id or "", self._stage()]
        return f"<{' '.join(word for word in words if word)}>"

    def _stage(self) -> str:
        if self._reader is not None and self._reader.disowned:
            return "of the parent process"
        if self._state in (CANCELLED, CANCELLED_AND_NOTIFIED):
            return "cancelled"
        if self._state != FINISHED:
            return ("running" if self._is_running else "accepted") if self.task_key is not None else "not accepted yet"
        if self._packed is not None:
            return "finished" if isinstance(self._packed, bytes) else "finished without a result"
        if self._exception is not None:
            return f"finished raised {type(self._exception).__name__}"
        return f"finished returned {type(self._result).__name__}"

    @property
    def task_id(self) -> str | None:
        """The task's id, None until the master has accepted it."""
        return None if self.task_key is None else id_text(self.task_key)

    def running(self) -> bool:
        """Whether the task runs at this time.

        Asks the master, at most every tenth of a second, about all of the client's tasks at once.
        """
        reader = self._reader
        self._is_running = (
            reader is not None and self.task_key is not None and not self.has_ended and reader.is_running(self.task_key)
        )
        return self._is_running

    def cancel(self) -> bool:
        """Cancel the task unless it runs or has ended; whether it is cancelled. It is never begun (again) then.

        As in `concurrent.futures` it waits for no task; but the master is asked, so it takes a round trip.
        """
        return self._cancel(running=False)

    def abort(self) -> bool:
        """Cancel the task although it may run: TaskStopped is raised in it, and a little later it is killed.

        Returns whether it is cancelled: False if it has ended, or no master answers.
        """
        return self._cancel(running=True)

    def claim(self) -> None:
        """The task is at the master already: only that can cancel it."""
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
        """How far the task is, as it has said last in `distq.current().progress(...)`; None if it says nothing.

        Asks the master, which takes a round trip. Raises CannotReach if none is there.
        """
        if self._reader is None or self.task_key is None or self.has_ended:
            return None
        return self._reader.progress(self.task_key)

    def stream(self, timeout: Timeout = None) -> Iterator[Any]:
        """The parts that the task, a generator function, has yielded and will yield; they are kept as its result is.

        An attempt after a failure begins anew: of a number that was there already, its part is taken for the same.

        Args:
            timeout: how many seconds to wait for each part.

        Raises what `result` raises, once the parts that came before are through; TimeoutError; CannotReach.
        """
        self._check_fork()
        if self._reader is not None:
            yield from self._reader.stream(self, timeout_s(timeout))
        elif self._exception is not None:
            raise self._exception.with_traceback(None)

    def withdraw(self) -> None:
        """The task is cancelled: it was claimed and will not be sent, or the master says so. Who waits hears of it."""
        if self._set_cancelled():
            self._call_back()

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
        """Call the callbacks in this thread."""
        if self._own_callbacks:
            self._invoke_callbacks()  # type: ignore[attr-defined] # the base class's own

    def _call_back_elsewhere(self) -> None:
        """Have the callbacks called in a thread that nothing else waits for: they may wait for other results."""
        if self._own_callbacks:
            if self._reader is None:
                self._call_back()
            else:
                self._reader.call_back(self._call_back)

    def result(self, timeout: Timeout = None) -> R:
        """Return what the task returned, or raise what it raised.

        Raises:
            TimeoutError: it has not ended within `timeout` seconds.
            TaskFailed: it failed, and its exception cannot be rebuilt here.
            TaskLost: the master has forgotten it.
            ResultUnreadable: it succeeded, and its result cannot be unpickled here.
        """
        if self._state != FINISHED:
            left_s = None if timeout is None else timeout_s(timeout)
            if self._reader is not None and not self.has_ended:
                left_s = wait_inside_task(self, self._reader, left_s)
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
        """Wait until it has its outcome; raises CancelledError, TimeoutError."""
        condition = self._condition
        with condition:
            if not self.has_ended:
                condition.wait(limit_s)
        if self._state in (CANCELLED, CANCELLED_AND_NOTIFIED):
            raise CancelledError
        if self._state != FINISHED:
            raise TimeoutError

    def exception(self, timeout: Timeout = None) -> BaseException | None:
        """Return what the task raised, None if it returned; raises TimeoutError as `result`."""
        left_s = timeout_s(timeout)
        if access.access is not None and self._reader is not None:
            left_s = wait_inside_task(self, self._reader, left_s)
        self.wait_until_ended(left_s)
        if self._packed is not None:
            # `asyncio.wrap_future` up to Python 3.14 believes that a future without an exception has a result.
            self._unpickle(self._packed)
        if self._exception is not None:
            self._mark_seen()
        return self._exception

    def packed_outcome(self, limit_s: float | None) -> bytes | FailedOutcome:
        """The outcome as its executor wrote it, of which nothing is unpickled.

        Raises as `result` where there is none: TimeoutError, CancelledError, or why the client gave the task up.
        """
        self.wait_until_ended(limit_s)
        self._mark_seen()
        if self._packed is None:
            error = self._exception or AssertionError("the outcome was unpickled before")
            raise error.with_traceback(None)
        return self._packed

    def _get_snapshot(self) -> tuple[bool, bool, R | None, BaseException | None]:
        """Done, cancelled, result, exception: what asyncio reads from Python 3.15 on, instead of calling `result`."""
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

    def _mark_seen(self) -> None:
        """A program has been told the error."""
        unseen, self.unseen = self.unseen, None
        if unseen is not None:
            unseen.seen()

    def _unpickle(self, body: bytes | FailedOutcome) -> None:
        """Unpickle the outcome; two threads may do it at once."""
        self._result, self._exception = unpacked(body, self.task_key)
        self._packed = None

    def settle(self, state: int, body: bytes | None, causes: list[str] | None) -> None:
        """Set the outcome that the master tells."""
        if state == TASK_CANCELLED and causes and causes[-1] == BY_CLIENT:
            if self._set_cancelled():
                self._call_back_elsewhere()
        elif state == SUCCEEDED:
            self._finish(body, None)
        else:
            self._finish((state, body, causes), None)

    def fail(self, error: BaseException) -> None:
        """Set an outcome that the client found: the task is lost, or was refused."""
        self._finish(None, error)

    def _finish(self, body: bytes | FailedOutcome | None, error: BaseException | None) -> None:
        with shared_lock():
            if self.has_ended:
                return  # cancelled by us, and the master says the same now; or told twice
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


def claim(futures: Iterable[TaskFuture[R]]) -> list[TaskFuture[R]]:
    """Those that nobody has claimed yet, and nobody else can claim from now on: to send them, or to cancel them."""
    claimed = []
    with shared_lock():
        for future in futures:
            if not future._claimed:  # noqa: SLF001 - one module, one noun
                future._claimed = True  # noqa: SLF001
                claimed.append(future)
    return claimed


def cancel_all(futures: Sequence[TaskFuture[Any]]) -> None:
    """Cancel all of them that do not run, in as few calls as possible; those that wait for them hear of it."""
    for future in futures:
        future._check_fork()  # noqa: SLF001 - one module, one noun
    for future in claim(future for future in futures if not future.has_ended):
        future.withdraw()
    for reader in {future._reader for future in futures if future.task_key is None and not future.has_ended}:  # noqa: SLF001
        if reader is not None:
            reader.catch_up()
    accepted: dict[Reader, list[int]] = {}
    for future in futures:
        if not future.has_ended and future.task_key is not None and future._reader is not None:  # noqa: SLF001 - one noun
            accepted.setdefault(future._reader, []).append(future.task_key)  # noqa: SLF001
    for reader, keys in accepted.items():
        for at in range(0, len(keys), CANCELLED_PER_CALL):
            reader.cancel(keys[at : at + CANCELLED_PER_CALL], running=False)


def settle_all(ended: Iterable[tuple[TaskFuture[Any], Row]]) -> None:
    """Set many outcomes; results for which no thread waits yet are set under one lock."""
    others = []
    with shared_lock():
        for future, row in ended:
            is_open = future._own_condition is None and future._state == PENDING  # noqa: SLF001 - one module, one noun
            if is_open and row[1] == SUCCEEDED:
                future._packed = row[2]  # noqa: SLF001
                future._state = FINISHED  # noqa: SLF001
            else:
                others.append((future, row))
    for future, (_, state, body, causes) in others:
        future.settle(state, body, causes)
