"""The future of one task: `concurrent.futures.Future`, made cheap.

A stock future makes a condition, and with it a lock and a deque, for a wait that mostly never comes: 1.6 kB
and 3 µs. Here the condition, the list of waiters and the list of callbacks come into being when somebody asks
for them, and a thousand results are set under one lock.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import CancelledError, Future
from concurrent.futures._base import CANCELLED, CANCELLED_AND_NOTIFIED, FINISHED, PENDING
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from distq.core.task import BY_CLIENT, DEAD, EXPIRED, SUCCEEDED, text_of
from distq.core.task import CANCELLED as TASK_CANCELLED
from distq.tasks.current import Progress
from distq.tasks.failure import TaskCancelled, TaskError, TaskExpired, TaskLost, exception_of
from distq.tasks.payload import unpack_result

R = TypeVar("R")


class Reader(Protocol):
    """Reads results from the master, and asks it to cancel tasks."""

    def lead(self, future: TaskFuture[Any], timeout_s: float | None) -> float | None:
        """Read until the future is done, as far as nobody else does; returns how much of the time is left."""
        ...

    def catch_up(self) -> None:
        """Hear, if it can be heard soon, whether the master has accepted what is on its way."""
        ...

    def cancel(self, keys: Sequence[int], *, running: bool) -> bool:
        """Have the master cancel these tasks; whether it has cancelled all of them."""
        ...

    def progress(self, key: int) -> Progress | None:
        """How far a task is."""
        ...

    def stream(self, future: TaskFuture[Any], timeout_s: float | None) -> Iterator[Any]:
        """The parts of a task's stream."""
        ...


CANCELLED_AT_ONCE = 10_000
"""As many keys as a master takes in one call."""

_lock = threading.Lock()
"""Guards the coming into being of every future's condition against its result being set meanwhile."""


class ResultUnreadable(TaskError):
    """The task succeeded, and its result cannot be unpickled in this program."""

    code = "RESULT_UNREADABLE"
    hint = "See that the result's class can be imported here, in the version that the worker has."


class TaskFuture(Future[R]):
    """A `concurrent.futures.Future` of a task. Its result is unpickled when it is asked for."""

    _claimed: bool = False
    """Whether the task is on its way to the master, or was cancelled before that: either, never both."""
    key: int | None = None
    """The task's key, None until the master has accepted it."""
    _body: bytes | None = None
    _own_condition: threading.Condition | None = None
    _own_waiters: list[Any] | None = None
    _own_callbacks: list[Callable[[Future[R]], object]] | None = None

    def __init__(self, reader: Reader | None = None) -> None:
        self._reader = reader
        """Who can wait for the task's end in the thread that asks for its result."""
        # Not Future.__init__: it makes what this class makes when it is needed.
        self._state = PENDING
        self._result: R | None = None
        self._exception: BaseException | None = None

    if not TYPE_CHECKING:  # for type checkers they are the attributes that every future has

        @property
        def _condition(self) -> threading.Condition:
            condition = self._own_condition
            if condition is None:
                with _lock:
                    condition = self._own_condition
                    if condition is None:
                        condition = self._own_condition = threading.Condition()
            return condition

        @property
        def _waiters(self) -> list[Any]:
            if self._own_waiters is None:
                self._own_waiters = []
            return self._own_waiters

        @_waiters.setter
        def _waiters(self, waiters: list[Any]) -> None:
            self._own_waiters = waiters

        @property
        def _done_callbacks(self) -> list[Callable[[Future[R]], object]]:
            if self._own_callbacks is None:
                self._own_callbacks = []
            return self._own_callbacks

    @property
    def has_ended(self) -> bool:
        """As `done()`, without the lock that is only made for those who wait."""
        return self._state in (FINISHED, CANCELLED, CANCELLED_AND_NOTIFIED)

    @property
    def task_id(self) -> str | None:
        """The task's id, None until the master has accepted it."""
        return None if self.key is None else text_of(self.key)

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
        if self._state == PENDING and claim([self]):
            self.withdraw()
            return True
        reader = self._reader
        if reader is not None and not self.has_ended:
            if self.key is None:
                reader.catch_up()
            if self.key is not None and reader.cancel([self.key], running=running):
                self.withdraw()
        return self.cancelled()

    def progress(self) -> Progress | None:
        """How far the task is, as it has said last in `distq.current().progress(...)`; None if it says nothing.

        Asks the master, which takes a round trip. Raises CannotReach if none is there.
        """
        if self._reader is None or self.key is None or self.has_ended:
            return None
        return self._reader.progress(self.key)

    def stream(self, timeout: float | None = None) -> Iterator[Any]:
        """The parts that the task, a generator function, has yielded and will yield; they are kept as its result is.

        An attempt after a failure begins anew: of a number that was there already, its part is taken for the same.

        Args:
            timeout: how many seconds to wait for each part.

        Raises what `result` raises, once the parts that came before are through; TimeoutError; CannotReach.
        """
        if self._reader is None:
            return
        yield from self._reader.stream(self, timeout)

    def withdraw(self) -> None:
        """The task is cancelled: it was claimed and will not be sent, or the master says so. Who waits hears of it."""
        if super().cancel():
            with self._condition:
                if self._state == CANCELLED:
                    self.set_running_or_notify_cancel()

    def result(self, timeout: float | None = None) -> R:
        """Return what the task returned, or raise what it raised.

        Raises:
            TimeoutError: it has not ended within `timeout` seconds.
            TaskFailed: it failed, and its exception cannot be rebuilt here.
            TaskLost: the master has forgotten it.
            ResultUnreadable: it succeeded, and its result cannot be unpickled here.
        """
        if self._state != FINISHED:
            if self._state in (CANCELLED, CANCELLED_AND_NOTIFIED):
                raise CancelledError
            if self._reader is not None:
                timeout = self._reader.lead(self, timeout)
            if self._state != FINISHED:
                super().result(timeout)
        if self._body is not None:
            self._open(self._body)
        if self._exception is not None:
            # As in the standard library: the traceback must not keep this frame, and with it the future, alive.
            try:
                raise self._exception
            finally:
                del self
        return self._result  # type: ignore[return-value] # finished without an exception: it is an R

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """Return what the task raised, None if it returned; raises TimeoutError as `result`."""
        error = super().exception(timeout)
        if error is None and self._body is not None:
            # `asyncio.wrap_future` up to Python 3.14 believes that a future without an exception has a result.
            self._open(self._body)
            error = self._exception
        return error

    def _get_snapshot(self) -> tuple[bool, bool, R | None, BaseException | None]:
        """Done, cancelled, result, exception: what asyncio reads from Python 3.15 on, instead of calling `result`."""
        state = self._state
        if state == FINISHED:
            if self._body is not None:
                self._open(self._body)
            return True, False, self._result, self._exception
        is_cancelled = state in (CANCELLED, CANCELLED_AND_NOTIFIED)
        return is_cancelled, is_cancelled, None, None

    def _open(self, body: bytes) -> None:
        """Unpickle the result; two threads may do it at once."""
        try:
            self._result = unpack_result(body)
        except Exception as error:  # noqa: BLE001 - whatever the result's class does when it is made
            unreadable = ResultUnreadable(
                f"The result of task {self.task_id} cannot be read here: {type(error).__name__}: {error}."
            )
            unreadable.__cause__ = error
            self._exception = unreadable
        self._body = None

    def settle(self, state: int, body: bytes | None, causes: list[str] | None) -> None:
        """Set the outcome that the master tells."""
        if state == TASK_CANCELLED and causes and causes[-1] == BY_CLIENT:
            self.withdraw()
            return
        if state == SUCCEEDED:
            self._body = body
            error = None
        else:
            error = _error_of(state, body, causes)
        self._finish(error)

    def fail(self, error: BaseException) -> None:
        """Set an outcome that the client found: the task is lost, or was refused."""
        self._finish(error)

    def _finish(self, error: BaseException | None) -> None:
        with _lock:
            condition = self._own_condition
            if condition is None:
                self._exception = error
                self._state = FINISHED
        if condition is not None:
            with condition:
                if self.has_ended:
                    return  # cancelled by us; the master says the same now
                self._exception = error
                self._state = FINISHED
                for waiter in self._waiters:
                    (waiter.add_exception if error is not None else waiter.add_result)(self)
                condition.notify_all()
        if self._own_callbacks:
            self._invoke_callbacks()  # type: ignore[attr-defined] # the base class's own


def claim(futures: Iterable[TaskFuture[R]]) -> list[TaskFuture[R]]:
    """Those that nobody has claimed yet, and nobody else can claim from now on: to send them, or to cancel them."""
    claimed = []
    with _lock:
        for future in futures:
            if not future._claimed:  # noqa: SLF001 - one module, one noun
                future._claimed = True  # noqa: SLF001
                claimed.append(future)
    return claimed


def cancel_all(futures: Sequence[TaskFuture[Any]]) -> None:
    """Cancel all of them that do not run, in as few calls as possible; those that wait for them hear of it."""
    for future in claim(future for future in futures if not future.has_ended):
        future.withdraw()
    for reader in {future._reader for future in futures if future.key is None and not future.has_ended}:  # noqa: SLF001
        if reader is not None:
            reader.catch_up()
    accepted: dict[Reader, list[int]] = {}
    for future in futures:
        if not future.has_ended and future.key is not None and future._reader is not None:  # noqa: SLF001 - one noun
            accepted.setdefault(future._reader, []).append(future.key)  # noqa: SLF001
    for reader, keys in accepted.items():
        for at in range(0, len(keys), CANCELLED_AT_ONCE):
            reader.cancel(keys[at : at + CANCELLED_AT_ONCE], running=False)


def renew_lock() -> None:
    """After a fork: another thread of the parent may have held it."""
    global _lock  # noqa: PLW0603 - the only one that there is
    _lock = threading.Lock()


def settle_all(rows: Iterable[tuple[TaskFuture[Any], int, bytes | None, list[str] | None]]) -> None:
    """Set many outcomes; those that nobody waits for yet are set under one lock."""
    awaited = []
    with _lock:
        for row in rows:
            future, state, body, _ = row
            if state == SUCCEEDED and future._own_condition is None:  # noqa: SLF001 - one module, one noun
                future._body = body  # noqa: SLF001
                future._state = FINISHED  # noqa: SLF001
            else:
                awaited.append(row)
    for future, state, body, causes in awaited:
        future.settle(state, body, causes)


def _error_of(state: int, body: bytes | None, causes: list[str] | None) -> BaseException:
    if state == DEAD:
        return exception_of(body, causes)
    if state == TASK_CANCELLED:
        return TaskCancelled(f"the task was cancelled: {causes[-1]}." if causes else "the task was cancelled.")
    if state == EXPIRED:
        return TaskExpired("the task expired before it could run.")
    return TaskLost("the master does not know the task any more.")
