"""Where several tasks run at once in one executor: in threads, and, if they are coroutine functions, on a loop."""

from __future__ import annotations

import asyncio
import contextvars
import os
import threading
from collections.abc import Callable, Coroutine
from contextlib import suppress
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

from distq.core.task import Outcome
from distq.tasks.failure import TaskStopped, TimeLimitExceeded, pack_overrun, unpack_failure
from distq.worker.executor.functions import CoroutineRun, Functions, failed_by_limit
from distq.worker.executor.handler import Ran
from distq.worker.executor.process_state import clear_mask_of_thread
from distq.worker.executor.rows import escaped
from distq.worker.executor.running_task import RunningTask, deliver_interrupts
from distq.worker.executor.tracing import traced, traced_on_loop

if TYPE_CHECKING:
    from distq.worker.executor.shutdown import ShutdownFlag

Ended = Callable[[RunningTask, "bytes | Ran"], None]
"""Told how a task has ended, from whichever thread it ran in."""


class TaskPool:
    """Threads, as many as are needed, and one loop, as soon as one is."""

    def __init__(self, functions: Functions, quit_: ShutdownFlag, ended: Ended) -> None:
        self._functions = functions
        self._shutdown = quit_
        self._ended = ended
        self._seats: SimpleQueue[RunningTask] = SimpleQueue()
        self._threads = 0
        self._idle = 0
        self._idle_lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._loop_lock = threading.Lock()
        self._tasks: set[asyncio.Task[Any]] = set()
        functions.awaits_by(self._await)

    def start(self, seat: RunningTask) -> None:
        """Run a task."""
        run = self._functions.coroutine_of(*_name_of(seat))
        if run is not None:
            self._start_on_loop(seat, run)
            return
        with self._idle_lock:
            is_one_free = self._idle > 0
            self._idle -= is_one_free
        if not is_one_free:
            self._threads += 1
            threading.Thread(target=self._work, name=f"seat-{self._threads}", daemon=True).start()
        self._seats.put(seat)

    def stacks(self) -> str:
        """Where the coroutines are that run on the loop, as text, the innermost call first."""
        return "".join(f"\nTask {task.get_name()}:\n{_stack_of(task.get_coro())}" for task in list(self._tasks))

    # -- threads -----------------------------------------------------------------------------------

    def _work(self) -> None:
        while True:
            with suppress(BaseException):  # one that a task's code has raised in this thread, after its task had ended
                self._work_once()

    def _work_once(self) -> None:
        seat = self._seats.get()
        answered = False
        try:
            ran = contextvars.copy_context().run(self._run, seat)
            if self._shutdown.forked:
                os._exit(os.EX_OK)  # the child of a fork has come out of the task: it answers for nothing
            ended = None if ran is None else _with_reason(seat, ran)
            answered = True
            if ended is not None:
                self._ended(seat, ended)
        except BaseException as error:  # noqa: BLE001 - whatever comes out is an answer: the seat must not be lost
            seat.closes()
            if not answered:
                self._ended(seat, escaped(error))
        finally:
            with self._idle_lock:
                self._idle += 1
            clear_mask_of_thread()

    def _run(self, seat: RunningTask) -> bytes | Ran | None:
        """Run a task; None if it was handed to the loop. An interruption may come anywhere here, and nowhere else."""
        deliver_interrupts.set(seat)
        try:
            if not seat.takes_thread():
                return _never_begun(seat)
            run = self._functions.found(*_name_of(seat))
            coroutine = self._functions.coroutine_of(*_name_of(seat))
            if coroutine is not None:  # the first of its name: from now on that is known
                seat.leaves_thread()
                self._start_on_loop(seat, coroutine)
                return None
            try:
                return (traced(run, seat.attempt) if seat.headers else run)(seat.row[4])
            finally:
                seat.closes()
        except (TimeLimitExceeded, TaskStopped) as error:  # raised while it was looked for, or when it had just ended
            seat.closes()
            return _interrupted(error)

    # -- the loop ----------------------------------------------------------------------------------

    def _started_loop(self) -> asyncio.AbstractEventLoop:
        with self._loop_lock:
            loop = self._loop
            if loop is None:
                loop = self._loop = asyncio.new_event_loop()
                threading.Thread(target=_run_for_good, args=(loop,), name="loop", daemon=True).start()
        return loop

    def _await(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """Await what a function has returned in a thread: on the loop, where it can be interrupted while it waits."""
        seat, context, loop = deliver_interrupts.get(), contextvars.copy_context(), self._started_loop()
        assert seat is not None
        ended: SimpleQueue[asyncio.Task[Any]] = SimpleQueue()

        def create() -> None:
            task: asyncio.Task[Any] = loop.create_task(coroutine, context=context, name=_name_of(seat)[1])
            self._tasks.add(task)
            task.add_done_callback(ended.put)
            if not seat.takes_loop(lambda: loop.call_soon_threadsafe(task.cancel)):
                task.cancel()

        seat.leaves_thread()
        loop.call_soon_threadsafe(create)
        task = ended.get()
        self._tasks.discard(task)
        if not seat.takes_thread() and task.cancelled():
            assert seat.reason is not None
            raise seat.reason
        return task.result()

    def _start_on_loop(self, seat: RunningTask, run: CoroutineRun) -> None:
        loop = self._started_loop()
        loop.call_soon_threadsafe(self._create, loop, seat, run)

    def _create(self, loop: asyncio.AbstractEventLoop, seat: RunningTask, run: CoroutineRun) -> None:
        context = contextvars.copy_context()
        context.run(deliver_interrupts.set, seat)
        coroutine = (traced_on_loop(run, seat.attempt) if seat.headers else run)(seat.row[4], lambda: seat.reason)
        task: asyncio.Task[bytes | Ran] = loop.create_task(coroutine, context=context, name=_name_of(seat)[1])
        self._tasks.add(task)
        task.add_done_callback(lambda task: self._finish(seat, task))
        if not seat.takes_loop(lambda: loop.call_soon_threadsafe(task.cancel)):
            task.cancel()

    def _finish(self, seat: RunningTask, task: asyncio.Task[bytes | Ran]) -> None:
        self._tasks.discard(task)
        seat.closes()
        try:
            ran = _never_begun(seat) if task.cancelled() else task.result()
        except BaseException as error:  # noqa: BLE001 - as in a thread
            ran = escaped(error)
        self._ended(seat, ran)


def _run_for_good(loop: asyncio.AbstractEventLoop) -> None:
    """Run a loop that tasks share: what one of them raises to end its program, or `loop.stop()`, ends it for none."""
    while True:
        with suppress(BaseException):  # whose task it was raised in has it as its end
            loop.run_forever()


def _name_of(seat: RunningTask) -> tuple[str, str]:
    return seat.envelope[2], seat.envelope[1]


def _interrupted(error: BaseException) -> Ran:
    if isinstance(error, TimeLimitExceeded):
        return failed_by_limit(error)
    return Ran(Outcome.RELEASED, b"")  # stopped: the master has done with it


def _never_begun(seat: RunningTask) -> Ran:
    """The outcome of a task that was interrupted before its first step; another task on the loop may have done that."""
    reason = seat.reason
    return escaped(asyncio.CancelledError()) if reason is None else _interrupted(reason)


def _with_reason(seat: RunningTask, ran: bytes | Ran) -> bytes | Ran:
    """An exception that is raised in another thread comes without its text: that is put in again."""
    if not isinstance(seat.reason, TimeLimitExceeded) or isinstance(ran, bytes) or ran.text:
        return ran
    text = str(seat.reason)
    return ran._replace(body=pack_overrun(text, unpack_failure(ran.body).remote_traceback), text=text)


def _stack_of(coroutine: object) -> str:
    """Where a coroutine waits, down to what it waits for."""
    lines: list[str] = []
    while (frame := getattr(coroutine, "cr_frame", None)) is not None:
        code = frame.f_code
        lines.append(f'  File "{code.co_filename}", line {frame.f_lineno} in {code.co_name}\n')
        coroutine = getattr(coroutine, "cr_await", None)
    return "".join(reversed(lines))
