"""Tests of one of several running tasks: interrupted at any time, it has one end, and no other task is affected."""

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
        self.quit = ShutdownFlag()
        self.ends: SimpleQueue[tuple[RunningTask, bytes | RunOutcome]] = SimpleQueue()
        functions = Functions(None, "pickle", 1 << 20, print)
        self.places = TaskPool(functions, self.quit, lambda seat, ran: self.ends.put((seat, ran)))
        self._numbers = 0

    def start(self, name: str, seconds: float) -> RunningTask:
        """Run a task."""
        self._numbers += 1
        row = (self._numbers, 1, 1, 0, pack_json([seconds], {}))
        seat = RunningTask(self._numbers, row, LeaseReply([("q", f"seated:{name}", "task", 1.0)], [row]), 0.0)
        self.places.start(seat)
        return seat

    def end(self) -> tuple[RunningTask, bytes | RunOutcome]:
        """The next end."""
        return self.ends.get(timeout=SOON_S)


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    """A task pool, and a module of tasks."""
    (tmp_path / "seated.py").write_text(SOURCE)
    monkeypatch.syspath_prepend(tmp_path)
    return Bench()


@pytest.mark.parametrize("name", ["works", "waits"])
def test_a_time_limit_is_told_with_its_text(bench: Bench, name: str) -> None:
    """Though an exception that comes from another thread has none."""
    bench.start(name, 0.0)
    bench.end()
    seat = bench.start(name, SOON_S)
    seat.interrupt(TimeLimitExceeded("exceeded time limit 1 s"))
    ended, ran = bench.end()
    assert ended is seat
    assert isinstance(ran, RunOutcome)
    assert (ran.outcome, ran.text) == (Outcome.TIMEOUT, "exceeded time limit 1 s")


@pytest.mark.parametrize("name", ["works", "waits"])
def test_the_first_reason_counts_and_after_the_end_none(bench: Bench, name: str) -> None:
    """The executor releases a stopped task, which the master has ended already."""
    seat = bench.start(name, SOON_S)
    seat.interrupt(TaskStopped("stop"))
    seat.interrupt(TimeLimitExceeded("too late"))
    _, ran = bench.end()
    assert isinstance(ran, RunOutcome)
    assert ran.outcome == Outcome.RELEASED
    seat.interrupt(TimeLimitExceeded("it has ended"))
    bench.start(name, 0.0)
    assert bench.end()[1] == b'"done"'


@pytest.fixture
def _restless() -> Iterator[None]:
    """Threads take turns so often that one is interrupted everywhere."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("_restless")
@pytest.mark.parametrize("name", ["works", "waits"])
def test_interrupted_at_any_moment_each_has_one_end_and_the_threads_live_on(bench: Bench, name: str) -> None:
    """Before it has begun, in its code, when that has just ended, and after that."""
    dice = random.Random(7)
    outcomes: Counter[object] = Counter()
    before = threading.active_count()
    for _ in range(300):
        seats = [bench.start(name, dice.random() * 0.001) for _ in range(3)]
        for seat in dice.sample(seats, 2):
            time.sleep(dice.random() * 0.001)  # so that it comes at another moment each time
            seat.interrupt(dice.choice((TimeLimitExceeded, TaskStopped))("now"))
        ended = [bench.end() for _ in seats]
        assert {id(seat) for seat, _ in ended} == {id(seat) for seat in seats}
        for seat, ran in ended:
            outcomes[ran.outcome if isinstance(ran, RunOutcome) else ran] += 1
            assert isinstance(ran, bytes) or seat.reason is not None
    assert bench.ends.empty()
    # Three tasks at a time; a thread that has answered may not be idle yet when the next three come.
    assert threading.active_count() <= before + 2 * 3 + 1
    assert outcomes[b'"done"'] >= 300
    assert outcomes[Outcome.TIMEOUT]
    assert outcomes[Outcome.RELEASED]


def test_a_task_is_not_interrupted_while_its_thread_holds_a_lock() -> None:
    """The interruption comes after the release: on CPython 3.14 the lock would stay taken, and all other tasks wait."""
    row = (1, 1, 1, 0, b"")
    task = RunningTask(0, row, LeaseReply([("q", "seated:works", "task", 1.0)], [row]), 0.0)
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
