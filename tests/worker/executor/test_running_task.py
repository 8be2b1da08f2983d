"""Tests of one of several running tasks: interrupted at any time, it has one end, and affects no other task."""

import random
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from queue import SimpleQueue

import pytest
from tests.waiting import SOON_S

from distq.core.outcome import Outcome
from distq.protocol.exchange import LeaseReply
from distq.tasks.failure import TaskStopped, TimeLimitExceeded
from distq.tasks.payload import pack_json
from distq.worker.executor.functions import Functions
from distq.worker.executor.handler import RunOutcome
from distq.worker.executor.running_task import RunningTask
from distq.worker.executor.shutdown import ShutdownFlag
from distq.worker.executor.task_pool import TaskPool

SOURCE = """
import asyncio, time

def works(seconds):
    until = time.perf_counter() + seconds
    while time.perf_counter() < until:
        sum(range(100))
    return "done"

async def waits(seconds):
    await asyncio.sleep(seconds)
    return "done"
"""


class Bench:
    """A task pool, and the ends of its tasks."""

    def __init__(self) -> None:
        self.shutdown = ShutdownFlag()
        self.ends: SimpleQueue[tuple[RunningTask, bytes | RunOutcome]] = SimpleQueue()
        functions = Functions(None, "pickle", 1 << 20, print)
        self.pool = TaskPool(functions, self.shutdown, lambda task, ran: self.ends.put((task, ran)))
        self._numbers = 0

    def start(self, name: str, seconds: float) -> RunningTask:
        """Start a task, and return it."""
        self._numbers += 1
        row = (self._numbers, 1, 1, 0, pack_json([seconds], {}))
        task = RunningTask(self._numbers, row, LeaseReply([("q", f"pool_tasks:{name}", "task", 1.0)], [row]), 0.0)
        self.pool.start(task)
        return task

    def end(self) -> tuple[RunningTask, bytes | RunOutcome]:
        """Return the next end."""
        return self.ends.get(timeout=SOON_S)


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    """Yield a task pool with a module of tasks."""
    (tmp_path / "pool_tasks.py").write_text(SOURCE)
    monkeypatch.syspath_prepend(tmp_path)
    return Bench()


@pytest.mark.parametrize("name", ["works", "waits"])
def test_a_time_limits_exception_has_a_text(bench: Bench, name: str) -> None:
    """An exception that another thread raises has none by itself."""
    bench.start(name, 0.0)
    bench.end()
    task = bench.start(name, SOON_S)
    task.interrupt(TimeLimitExceeded("exceeded time limit 1 s"))
    ended, ran = bench.end()
    assert ended is task
    assert isinstance(ran, RunOutcome)
    assert (ran.outcome, ran.text) == (Outcome.TIMEOUT, "exceeded time limit 1 s")


@pytest.mark.parametrize("name", ["works", "waits"])
def test_only_the_first_reason_before_the_end_counts(bench: Bench, name: str) -> None:
    """The executor releases a stopped task, which the master has ended already."""
    task = bench.start(name, SOON_S)
    task.interrupt(TaskStopped("stop"))
    task.interrupt(TimeLimitExceeded("too late"))
    _, ran = bench.end()
    assert isinstance(ran, RunOutcome)
    assert ran.outcome == Outcome.RELEASED
    task.interrupt(TimeLimitExceeded("it has ended"))
    bench.start(name, 0.0)
    assert bench.end()[1] == b'"done"'


@pytest.fixture
def _restless() -> Iterator[None]:
    """Let threads switch every 10 microseconds, so that one is interrupted at every place."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("_restless")
@pytest.mark.parametrize("name", ["works", "waits"])
def test_tasks_interrupted_at_any_time_have_one_end_and_the_threads_live_on(bench: Bench, name: str) -> None:
    """The interruption comes before the start, in the task's code, directly after it, and later."""
    dice = random.Random(7)
    outcomes: Counter[object] = Counter()
    before = threading.active_count()
    for _ in range(300):
        started = [bench.start(name, dice.random() * 0.001) for _ in range(3)]
        for task in dice.sample(started, 2):
            time.sleep(dice.random() * 0.001)  # so that the interruption comes at another time in each round
            task.interrupt(dice.choice((TimeLimitExceeded, TaskStopped))("now"))
        ended = [bench.end() for _ in started]
        assert {id(task) for task, _ in ended} == {id(task) for task in started}
        for task, ran in ended:
            outcomes[ran.outcome if isinstance(ran, RunOutcome) else ran] += 1
            assert isinstance(ran, bytes) or task.reason is not None
    assert bench.ends.empty()
    # At most three tasks at a time: a thread that has reported an end may not be idle yet.
    assert threading.active_count() <= before + 2 * 3 + 1
    assert outcomes[b'"done"'] >= 300
    assert outcomes[Outcome.TIMEOUT]
    assert outcomes[Outcome.RELEASED]


def test_a_task_is_not_interrupted_while_its_thread_holds_a_lock() -> None:
    """The interruption comes after the release: on CPython 3.14 the lock would stay taken, and all other tasks wait."""
    row = (1, 1, 1, 0, b"")
    task = RunningTask(0, row, LeaseReply([("q", "pool_tasks:works", "task", 1.0)], [row]), 0.0)
    lock, steps = threading.Lock(), list[str]()

    def locked() -> None:
        with lock:
            other = threading.Thread(target=task.interrupt, args=(TaskStopped("now"),))
            other.start()
            other.join()
            steps.append("goes on")

    assert task.enter_thread()
    with pytest.raises(TaskStopped, match="now"):
        task.run_uninterrupted(locked)
    task.close()
    assert steps == ["goes on"]
    assert not lock.locked()
