"""Runs several tasks of one executor at the same time: in threads, and coroutine functions on one event loop."""

from __future__ import annotations

import asyncio
import contextvars
import os
import threading
from collections.abc import Callable, Coroutine
from contextlib import suppress
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

from distq.core.outcome import Outcome
from distq.tasks.failure import TaskStopped, TimeLimitExceeded, pack_overrun, unpack_failure
from distq.worker.executor.exchange import escaped
from distq.worker.executor.functions import CoroutineRunner, Functions, failed_by_limit
from distq.worker.executor.handler import RunOutcome
from distq.worker.executor.process_state import clear_mask_of_thread
from distq.worker.executor.running_task import RunningTask, running_task
from distq.worker.executor.tracing import traced, traced_on_loop

if TYPE_CHECKING:
    from distq.worker.executor.shutdown import ShutdownFlag

Ended = Callable[[RunningTask, "bytes | RunOutcome"], None]
"""Called with a task and its outcome, in the thread in which the task ran."""


class TaskPool:
    """One thread for each task that needs one, and one event loop, started with the first coroutine."""

    def __init__(self, functions: Functions, shutdown: ShutdownFlag, ended: Ended) -> None:
        self._functions = functions
        self._shutdown = shutdown
        self._ended = ended
        self._tasks_to_run: SimpleQueue[RunningTask] = SimpleQueue()
        self._threads = 0
        self._idle = 0
        self._idle_lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._loop_lock = threading.Lock()
        self._tasks: set[asyncio.Task[Any]] = set()
        functions.awaits_by(self._await)

    def start(self, running: RunningTask) -> None:
        """Run a task."""
        run = self._functions.coroutine_of(*_name_of(running))
        if run is not None:
            self._start_on_loop(running, run)
            return
        with self._idle_lock:
            is_one_free = self._idle > 0
            self._idle -= is_one_free
        if not is_one_free:
            self._threads += 1
            threading.Thread(target=self._work, name=f"task-{self._threads}", daemon=True).start()
        self._tasks_to_run.put(running)

    def stacks(self) -> str:
        """The stacks of the coroutines on the loop, as text, the innermost call first."""
        return "".join(f"\nTask {task.get_name()}:\n{_stack_of(task.get_coro())}" for task in list(self._tasks))

    # -- threads -----------------------------------------------------------------------------------

    def _work(self) -> None:
        while True:
            with suppress(BaseException):  # raised in this thread for a task that had ended already
                self._work_once()

    def _work_once(self) -> None:
        running = self._tasks_to_run.get()
        answered = False
        try:
            ran = contextvars.copy_context().run(self._run, running)
            if self._shutdown.is_forked:
                os._exit(os.EX_OK)  # a child that the task forked has returned from the task: it settles nothing
            ended = None if ran is None else _with_reason(running, ran)
            answered = True
            if ended is not None:
                self._ended(running, ended)
        except BaseException as error:  # noqa: BLE001 - every exception is settled: the slot must not be lost
            running.close()
            if not answered:
                self._ended(running, escaped(error))
        finally:
            with self._idle_lock:
                self._idle += 1
            clear_mask_of_thread()

    def _run(self, running: RunningTask) -> bytes | RunOutcome | None:
        """Run a task; None if the loop runs it. The task's interruption is raised in here, and nowhere else."""
        running_task.set(running)
        try:
            run = self._functions.found(*_name_of(running))  # takes locks, hence before it can be interrupted
            coroutine = self._functions.coroutine_of(*_name_of(running))
            if coroutine is not None:  # the first of its name; later ones go to the loop directly
                self._start_on_loop(running, coroutine)
                return None
            if not running.enter_thread():
                return _never_begun(running)
            try:
                return (traced(run, running.attempt) if running.headers else run)(running.row[4])
            finally:
                running.close()
        except (TimeLimitExceeded, TaskStopped) as error:  # raised before or after the task's own code
            running.close()
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
        """Await on the loop what a function has returned in a thread: there it can be interrupted while it waits."""
        running, context = running_task.get(), contextvars.copy_context()
        assert running is not None
        running.leave_thread()
        loop = self._started_loop()  # takes a lock, hence when this thread cannot be interrupted
        ended: SimpleQueue[asyncio.Task[Any]] = SimpleQueue()

        def create() -> None:
            task: asyncio.Task[Any] = loop.create_task(coroutine, context=context, name=_name_of(running)[1])
            self._tasks.add(task)
            task.add_done_callback(ended.put)
            if not running.enter_loop(lambda: loop.call_soon_threadsafe(task.cancel)):
                task.cancel()

        loop.call_soon_threadsafe(create)
        task = ended.get()
        self._tasks.discard(task)
        if not running.enter_thread() and task.cancelled():
            assert running.reason is not None
            raise running.reason
        return task.result()

    def _start_on_loop(self, running: RunningTask, run: CoroutineRunner) -> None:
        loop = self._started_loop()
        loop.call_soon_threadsafe(self._create, loop, running, run)

    def _create(self, loop: asyncio.AbstractEventLoop, running: RunningTask, run: CoroutineRunner) -> None:
        context = contextvars.copy_context()
        context.run(running_task.set, running)
        coroutine = (traced_on_loop(run, running.attempt) if running.headers else run)(
            running.row[4], lambda: running.reason
        )
        task: asyncio.Task[bytes | RunOutcome] = loop.create_task(coroutine, context=context, name=_name_of(running)[1])
        self._tasks.add(task)
        task.add_done_callback(lambda task: self._finish(running, task))
        if not running.enter_loop(lambda: loop.call_soon_threadsafe(task.cancel)):
            task.cancel()

    def _finish(self, running: RunningTask, task: asyncio.Task[bytes | RunOutcome]) -> None:
        self._tasks.discard(task)
        running.close()
        try:
            ran = _never_begun(running) if task.cancelled() else task.result()
        except BaseException as error:  # noqa: BLE001 - as in a thread
            ran = escaped(error)
        self._ended(running, ran)


def _run_for_good(loop: asyncio.AbstractEventLoop) -> None:
    """Run the loop that tasks share, for ever: neither SystemExit of one task nor its `loop.stop()` ends it."""
    while True:
        with suppress(BaseException):  # it is the outcome of the task that raised it
            loop.run_forever()


def _name_of(running: RunningTask) -> tuple[str, str]:
    return running.envelope[2], running.envelope[1]


def _interrupted(error: BaseException) -> RunOutcome:
    if isinstance(error, TimeLimitExceeded):
        return failed_by_limit(error)
    return RunOutcome(Outcome.RELEASED, b"")  # stopped: the master has cancelled the task, or leased it again


def _never_begun(running: RunningTask) -> RunOutcome:
    """The outcome of a task that was interrupted before its first step, also by another task on the loop."""
    reason = running.reason
    return escaped(asyncio.CancelledError()) if reason is None else _interrupted(reason)


def _with_reason(running: RunningTask, ran: bytes | RunOutcome) -> bytes | RunOutcome:
    """Put the text of a time limit in again: an exception that another thread raises comes without it."""
    if not isinstance(running.reason, TimeLimitExceeded) or isinstance(ran, bytes) or ran.text:
        return ran
    text = str(running.reason)
    return ran._replace(body=pack_overrun(text, unpack_failure(ran.body).remote_traceback), text=text)


def _stack_of(coroutine: object) -> str:
    """The stack of a coroutine, down to the one that it awaits."""
    lines: list[str] = []
    while (frame := getattr(coroutine, "cr_frame", None)) is not None:
        code = frame.f_code
        lines.append(f'  File "{code.co_filename}", line {frame.f_lineno} in {code.co_name}\n')
        coroutine = getattr(coroutine, "cr_await", None)
    return "".join(reversed(lines))
