"""`distq.AsyncFuture`: the awaitable future of one task, for one event loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Generator, Iterable, Sequence
from concurrent.futures._base import CANCELLED_AND_NOTIFIED, FINISHED, PENDING
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from distq.client.future import claim
from distq.client.future_state import CANCELLED_HERE, FutureState
from distq.client.inside_task import DEADLOCK_CHECK_S, NoSlotLeft
from distq.client.timeouts import Timeout, timeout_s
from distq.core.states import SUCCEEDED
from distq.tasks import access
from distq.tasks.cancelled import TaskCancelled

if TYPE_CHECKING:
    from distq.client.outcome import FailedOutcome
    from distq.protocol.results import TaskEnd
    from distq.tasks.current import Progress

R = TypeVar("R")


class FutureSession(Protocol):
    """What a future needs of its client's session."""

    def check_loop(self) -> None:
        """Raise WrongLoop in another event loop or process than that of the client."""
        ...

    async def wait_for_acceptance(self, future: AsyncFuture[Any], timeout_s: float | None) -> None:
        """Wait until the master has accepted or refused the task, or `timeout_s` seconds are over."""
        ...

    async def cancel(self, futures: Sequence[AsyncFuture[Any]], *, running: bool) -> bool:
        """Have the master cancel tasks; returns whether it has cancelled all of them."""
        ...

    async def progress(self, task_key: int) -> Progress | None:
        """The progress that a task has reported."""
        ...

    async def is_running(self, task_key: int) -> bool:
        """Whether a task runs."""
        ...

    async def deadlock(self, task: str, task_key: int) -> str:
        """The reason why a task that waits for another task waits for ever; '' if it does not."""
        ...

    def stream(self, future: AsyncFuture[Any], timeout_s: float | None) -> AsyncGenerator[Any, None]:
        """The values that a task yields."""
        ...


class AsyncFuture(FutureState[R]):
    """The future of a task: `await future` gives its result. Any number of coroutines may await it, several times.

    A coroutine that is cancelled while it awaits the future leaves the task alone, also by `asyncio.wait_for` and
    `asyncio.timeout`: the task runs on, and the future can be awaited again. `await future.cancel()` cancels the task.

    `await future` raises what `TaskFuture.result` raises, with one difference: a task that this client has cancelled
    raises TaskCancelled, because `asyncio.CancelledError` would say that the awaiting coroutine was cancelled.
    """

    def __init__(self, session: FutureSession, name: str = "") -> None:
        self._session = session
        self._name = name
        self._waiters: list[asyncio.Future[None]] = []

    def __await__(self) -> Generator[Any, None, R]:
        """Wait for the outcome; return what the task returned, or raise what it raised."""
        if not self.has_ended:
            self._session.check_loop()
            if access.access is None:
                waiter = self.waiter()
                try:
                    yield from waiter
                finally:
                    self.forget(waiter)
            else:
                yield from self._wait_inside_task().__await__()
        try:
            return self.result()
        finally:
            del self  # as in `result`

    async def _wait_inside_task(self) -> None:
        """Wait for the outcome in another task; raises NoSlotLeft if that would wait for ever."""
        task = access.task_running()
        waiter = self.waiter()
        try:
            while not self.has_ended:
                await asyncio.wait((waiter,), timeout=DEADLOCK_CHECK_S)
                key = self.task_key
                if task and not self.has_ended and key is not None and (why := await self._session.deadlock(task, key)):
                    raise NoSlotLeft(why)
        finally:
            self.forget(waiter)

    def waiter(self) -> asyncio.Future[None]:
        """A new future of asyncio, which is done when this one has its outcome."""
        waiter = asyncio.get_running_loop().create_future()
        if self.has_ended:
            waiter.set_result(None)
        else:
            self._waiters.append(waiter)
        return waiter

    def forget(self, waiter: asyncio.Future[None]) -> None:
        """Stop waking a waiter."""
        if waiter in self._waiters:
            self._waiters.remove(waiter)

    def check_loop(self) -> None:
        """Raise WrongLoop in another event loop or process than that of the client."""
        self._session.check_loop()

    def done(self) -> bool:
        """Whether the future has its outcome, or is cancelled."""
        return self.has_ended

    def cancelled(self) -> bool:
        """Whether this client has cancelled the task."""
        return self._state == CANCELLED_AND_NOTIFIED

    def result(self) -> R:
        """Return what the task returned, or raise what `await future` raises, without waiting.

        Raises:
            InvalidStateError: the future has no outcome yet (`asyncio.InvalidStateError`).
        """
        error = self.exception()
        if error is not None:
            # The traceback must not keep this frame, and with it the future, alive.
            try:
                raise error.with_traceback(None)
            finally:
                del self, error
        return self._result  # type: ignore[return-value] # finished without an exception: it is an R

    def exception(self) -> BaseException | None:
        """Return what `await future` raises, None if the task succeeded, without waiting.

        Raises:
            InvalidStateError: the future has no outcome yet (`asyncio.InvalidStateError`).
        """
        if self._state == CANCELLED_AND_NOTIFIED:
            return TaskCancelled(CANCELLED_HERE)
        if self._state != FINISHED:
            raise asyncio.InvalidStateError(f"{self!r} has no outcome yet; await it.")
        if self._packed is not None:
            self._unpickle(self._packed)
        if self._exception is not None:
            self._mark_seen()
        return self._exception

    async def accepted(self) -> str:
        """Wait until the master has accepted the task, and return the task's id.

        Raises:
            RefusedSubmit: the master has refused the task.
            CannotReach, AuthenticationFailed: the client could not send it.
            TaskCancelled: the task was cancelled before the client sent it.
        """
        try:
            await self.wait_for_acceptance()
            if self.task_id is None:
                self.result()
            assert self.task_id is not None
            return self.task_id
        finally:
            del self  # as in `result`

    async def cancel(self) -> bool:
        """Cancel the task unless it runs or has ended; returns whether it is cancelled.

        No executor begins a cancelled task. The call does not wait for the task; it takes one round trip to the master.
        """
        return await self._cancel(running=False)

    async def abort(self) -> bool:
        """Cancel the task even if it runs: TaskStopped is raised in it; its executor is killed if it runs 2 s later.

        Returns whether the task is cancelled: False if it has ended, or if no master answers.
        """
        return await self._cancel(running=True)

    async def _cancel(self, *, running: bool) -> bool:
        self._session.check_loop()
        if await self._session.cancel([self], running=running):
            self.withdraw()
        return self.cancelled()

    def withdraw_unsent(self) -> bool:
        """Cancel the task if the client has not sent it; returns whether it did."""
        if self._state != PENDING or not claim([self]):
            return False
        self.withdraw()
        return True

    async def running(self) -> bool:
        """Whether the task runs.

        The client asks the master, at most ten times a second, about up to 5,000 of its tasks in one call.
        """
        key = self.task_key
        self._is_running = key is not None and not self.has_ended and await self._session.is_running(key)
        return self._is_running

    async def progress(self) -> Progress | None:
        """The last report of `distq.current().progress(...)`; None if the task has reported nothing, or has ended.

        Takes one round trip to the master.

        Raises:
            CannotReach, ConnectionLost: no master answers.
        """
        if self.task_key is None or self.has_ended:
            return None
        return await self._session.progress(self.task_key)

    async def follow_progress(self, every: Timeout = 0.5) -> AsyncGenerator[Progress, None]:
        """Yield each report of progress that differs from the one before; end when the task has ended.

            async for report in future.follow_progress(every=1):
                print(report)

        It does not raise what the task raises: await the future after it.

        Args:
            every: the time between two calls to the master; a report that another one replaces in it is left out.

        Raises:
            CannotReach, ConnectionLost: no master answers.
        """
        every_s = timeout_s(every)
        last = None
        while not self.has_ended:
            report = await self.progress()
            if report is not None and report != last:
                last = report
                yield report
            await self.wait_until_ended(every_s)

    async def stream(self, timeout: Timeout = None) -> AsyncGenerator[Any, None]:  # noqa: ASYNC109 - as TaskFuture.stream
        """Yield the values that the task, a generator function, yields, from the first one on.

        As `TaskFuture.stream`, with its errors. After the last value it raises what `await future` raises.

        Args:
            timeout: the longest wait for each value.
        """
        self._session.check_loop()
        try:
            async for value in self._session.stream(self, timeout_s(timeout)):
                yield value
            await self
        finally:
            del self  # as in `result`

    async def wait_for_acceptance(self) -> None:
        """Wait until the master has accepted or refused the task."""
        if self.task_key is None and not self.has_ended:
            await self._session.wait_for_acceptance(self, None)

    async def wait_until_ended(self, limit_s: float | None) -> bool:
        """Wait for the outcome, at most `limit_s` seconds; returns whether the future has it."""
        if not self.has_ended:
            waiter = self.waiter()
            try:
                await asyncio.wait((waiter,), timeout=limit_s)
            finally:
                self.forget(waiter)
        return self.has_ended

    # -- called by the client ------------------------------------------------------------------

    @property
    def has_callbacks(self) -> bool:
        """Whether a coroutine waits for the end of the future."""
        return bool(self._waiters)

    def withdraw(self) -> None:
        """Note that the task is cancelled, and wake the coroutines that wait for it."""
        if not self.has_ended:
            self._state = CANCELLED_AND_NOTIFIED
            self._wake()

    def _withdrawn_by_master(self) -> None:
        self.withdraw()

    def _finish(self, body: bytes | FailedOutcome | None, error: BaseException | None) -> None:
        if not self.has_ended:
            self._packed, self._exception = body, error
            self._state = FINISHED
            self._wake()

    def _wake(self) -> None:
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)


def settle_all(ended: Iterable[tuple[AsyncFuture[Any], TaskEnd]]) -> None:
    """Set many outcomes."""
    for future, (_, state, body, causes) in ended:
        if state == SUCCEEDED and future._state == PENDING:  # noqa: SLF001 - this module's own class
            future._packed = body  # noqa: SLF001
            future._state = FINISHED  # noqa: SLF001
            if future._waiters:  # noqa: SLF001
                future._wake()  # noqa: SLF001
        else:
            future.settle(state, body, causes)
