"""Tests of the task pool, in which several tasks run at the same time: threads, and the event loop that they share."""

import asyncio
import functools
import pickle
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any

from tests.waiting import SOON_S

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


class AtWork:
    """A task pool, and how its tasks have ended."""

    def __init__(self) -> None:
        self.quit = ShutdownFlag()
        self._ended: SimpleQueue[bytes | RunOutcome] = SimpleQueue()
        self._places = TaskPool(
            Functions(None, "pickle", 1 << 20, print), self.quit, lambda _seat, ran: self._ended.put(ran)
        )

    def start(self, name: str, *args: object) -> RunningTask:
        """Have a task run."""
        seat = RunningTask(0, (1, 1, 1, 0, pickle.dumps((args, {}))), LeaseReply([("default", name, TASK, None)]), 0.0)
        self._places.start(seat)
        return seat

    def ended(self) -> object:
        """The result of the next task to end, or its other outcome."""
        ran = self._ended.get(timeout=SOON_S)
        return pickle.loads(ran) if isinstance(ran, bytes) else ran


def _plainly(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def inner(*args: Any) -> Any:
        return function(*args)

    return inner


def test_a_coroutine_that_a_thread_was_given_is_awaited_on_the_loop_and_interrupted_there() -> None:
    """As if the plain decorator were not there: also while it waits for something that never comes."""
    waits = threading.Event()

    @task(name="places' coroutine")
    @_plainly
    async def work(for_ever: bool) -> str:
        if for_ever:
            waits.set()
            await asyncio.Event().wait()
        return threading.current_thread().name

    at_work = AtWork()
    at_work.start("places' coroutine", False)
    assert at_work.ended() == "loop"
    seat = at_work.start("places' coroutine", True)
    assert waits.wait(SOON_S)
    seat.interrupt(TimeLimitExceeded("exceeded time limit 1 s"))
    ran = at_work.ended()
    assert isinstance(ran, RunOutcome)
    assert (ran.outcome, ran.text) == (Outcome.TIMEOUT, "exceeded time limit 1 s")


def test_what_ends_a_program_in_a_task_of_a_coroutines_own_does_not_end_the_loop() -> None:
    """`asyncio` raises it out of the loop too, on which other tasks wait; neither does `loop.stop()`."""

    async def exits() -> None:
        raise SystemExit(3)

    @task(name="places' exit")
    async def work() -> None:
        await asyncio.create_task(exits())

    @task(name="places' stop")
    async def stops() -> str:
        asyncio.get_running_loop().stop()
        await asyncio.sleep(0)
        return "goes on"

    at_work = AtWork()
    for _ in range(2):
        at_work.start("places' exit")
        ran = at_work.ended()
        assert isinstance(ran, RunOutcome)
        assert (ran.outcome, ran.text) == (Outcome.FAILURE, "SystemExit: 3")
    at_work.start("places' stop")
    assert at_work.ended() == "goes on"
