"""Tests of the task pool, in which several tasks run at the same time: threads, and the event loop that they share."""

import asyncio
import pickle
import threading
from queue import SimpleQueue

from tests.waiting import SOON_S
from tests.worker.at_work import wrapped

from distq.core.option_values import TASK
from distq.core.outcome import Outcome
from distq.protocol.exchange import LeaseReply
from distq.tasks.failure import TimeLimitExceeded
from distq.tasks.function import task
from distq.worker.executor.functions import Functions
from distq.worker.executor.handler import RunOutcome
from distq.worker.executor.running_task import RunningTask
from distq.worker.executor.shutdown import ShutdownFlag
from distq.worker.executor.task_pool import TaskPool


class StartedPool:
    """A task pool, and the ends of its tasks."""

    def __init__(self) -> None:
        self.quit = ShutdownFlag()
        self._ended: SimpleQueue[bytes | RunOutcome] = SimpleQueue()
        self._pool = TaskPool(
            Functions(None, "pickle", 1 << 20, print), self.quit, lambda _task, ran: self._ended.put(ran)
        )

    def start(self, name: str, *args: object) -> RunningTask:
        """Start a task."""
        task = RunningTask(0, (1, 1, 1, 0, pickle.dumps((args, {}))), LeaseReply([("default", name, TASK, None)]), 0.0)
        self._pool.start(task)
        return task

    def ended(self) -> object:
        """Return the result of the next task that ends, or its other outcome."""
        ran = self._ended.get(timeout=SOON_S)
        return pickle.loads(ran) if isinstance(ran, bytes) else ran


def test_a_coroutine_of_a_thread_is_awaited_and_interrupted_on_the_loop() -> None:
    """A plain decorator hides the coroutine function; the result is awaited even if it never comes."""
    waits = threading.Event()

    @task(name="the pool's coroutine")
    @wrapped
    async def work(forever: bool) -> str:
        if forever:
            waits.set()
            await asyncio.Event().wait()
        return threading.current_thread().name

    at_work = StartedPool()
    at_work.start("the pool's coroutine", False)
    assert at_work.ended() == "loop"
    running = at_work.start("the pool's coroutine", True)
    assert waits.wait(SOON_S)
    running.interrupt(TimeLimitExceeded("exceeded time limit 1 s"))
    ran = at_work.ended()
    assert isinstance(ran, RunOutcome)
    assert (ran.outcome, ran.text) == (Outcome.TIMEOUT, "exceeded time limit 1 s")


def test_an_asyncio_task_that_exits_the_program_does_not_end_the_loop() -> None:
    """`asyncio` raises SystemExit out of the loop on which other tasks wait; `loop.stop()` does not end it either."""

    async def exits() -> None:
        raise SystemExit(3)

    @task(name="the pool's exit")
    async def work() -> None:
        await asyncio.create_task(exits())

    @task(name="the pool's stop")
    async def stops() -> str:
        asyncio.get_running_loop().stop()
        await asyncio.sleep(0)
        return "goes on"

    at_work = StartedPool()
    for _ in range(2):
        at_work.start("the pool's exit")
        ran = at_work.ended()
        assert isinstance(ran, RunOutcome)
        assert (ran.outcome, ran.text) == (Outcome.FAILURE, "SystemExit: 3")
    at_work.start("the pool's stop")
    assert at_work.ended() == "goes on"
