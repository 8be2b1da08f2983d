"""Tests of an executor of several tasks with a fake master: what it requests, settles and holds meanwhile."""

import pickle
import threading
import time
from collections.abc import Callable
from typing import Any, cast

import pytest
from tests.net.fake_master import HANG_UP, ReceivedCall, fake_master
from tests.waiting import SOON_S
from tests.worker.at_work import NOTHING, at_work

from distq.core.option_values import THREAD
from distq.core.outcome import Outcome
from distq.wire.errors import RemoteRefusal
from distq.worker.executor.dependencies import DependencyArgumentsFailed, with_upstream_results
from distq.worker.shared.reports import Trouble

SLOTS = 5
LIMIT_S = 0.3
ENVELOPES = [
    ("work", "plain", "plain", None),
    ("work", "tests.worker.executor.test_concurrent_loop:overruns", "task", LIMIT_S),
]
Settled = list[tuple[Any, ...]]

interrupted = threading.Event()


def overruns() -> None:
    """Run beyond a time limit, and report the exception."""
    try:
        while True:
            time.sleep(0.01)  # the exception is raised between two of these calls
    finally:
        interrupted.set()


def leased(*items: object, first: int = 1, envelope: int = 0) -> tuple[Any, ...]:
    """Return the reply to an exchange that leases these tasks."""
    payloads = [pickle.dumps(item) for item in items]
    return ENVELOPES, [(first + n, 1, 1, envelope, payload) for n, payload in enumerate(payloads)]


class Scripted:
    """A fake master that answers by a test's script."""

    def __init__(
        self, script: Callable[[int, Settled, int], object], greets: Callable[[], bool] = lambda: True
    ) -> None:
        self.settled: Settled = []
        self.holds: list[Any] = []
        self.wants: list[int] = []
        self.greets: Callable[[], bool] = lambda: True
        """Whether the fake master answers a greeting."""
        self._script = script
        self.count = 0
        self.back = threading.Event()
        """Set at the second greeting."""
        self.greeted_again = threading.Event()
        """Set at a settlement."""

    def __call__(self, call: ReceivedCall) -> object:
        """Answer a call."""
        _, method, args = call
        if method == "hello":
            if not self.greets():
                return HANG_UP
            self.holds.append(args[0]["holds"])
            if len(self.holds) > 1:
                self.back.set()
            return {"protocol": 1}
        settled, want, _ = args
        count, self.count = self.count, self.count + 1
        self.wants.append(want)
        answer = self._script(count, settled, want)
        if answer is not HANG_UP and not isinstance(answer, Exception):
            self.settled += settled
            if settled:
                self.greeted_again.set()
        if isinstance(answer, Exception):
            raise answer
        return answer


def patient(answer: object) -> object:
    """Return the reply of a master after a short wait."""
    if answer is NOTHING:
        time.sleep(0.02)  # as a real master waits until there is a task
    return answer


def test_an_executor_requests_as_many_tasks_as_it_has_free_slots() -> None:
    """Its limit of tasks leaves three of five slots; with three running tasks it requests nothing."""
    started, go = threading.Semaphore(0), threading.Event()

    def handler(item: Any) -> object:
        started.release()
        assert go.wait(SOON_S)
        return item

    master = Scripted(lambda n, _settled, _want: patient(NOTHING if n else leased("a", "b", "c")))
    with (
        fake_master(master) as served,
        at_work(served.address, handler, executor=THREAD, executor_slots=SLOTS, max_tasks=3) as executor,
    ):
        for _ in range(3):
            assert started.acquire(timeout=SOON_S)
        time.sleep(0.2)  # the executor could send ten requests in this time
        exchanges = master.count
        go.set()
        assert executor.ended()
    assert master.wants[0] == 3
    assert exchanges <= 2
    assert master.count <= exchanges + 4
    assert sorted((row[0], row[2]) for row in master.settled) == [(1, 0), (2, 0), (3, 0)]


def test_running_tasks_are_named_to_the_master_that_comes_back() -> None:
    """The executor settles each after its end, in any order."""
    started, go = threading.Semaphore(0), {"a": threading.Event(), "b": threading.Event()}

    def handler(item: Any) -> object:
        started.release()
        assert go[item].wait(SOON_S)
        return item

    master = Scripted(lambda n, _settled, _want: [leased("a", "b"), HANG_UP][n] if n < 2 else patient(NOTHING))
    with (
        fake_master(master) as served,
        at_work(served.address, handler, executor=THREAD, executor_slots=SLOTS, reconnect_max_s=0.01) as executor,
    ):
        for _ in range(2):
            assert started.acquire(timeout=SOON_S)
        assert master.back.wait(SOON_S)
        go["b"].set()
        go["a"].set()
        executor.request_end()
        assert executor.ended()
    assert sorted(master.holds[1]) == [(1, 1), (2, 1)]
    assert sorted((row[0], row[2]) for row in master.settled) == [(1, 0), (2, 0)]


def test_a_time_limit_holds_while_the_master_is_away() -> None:
    """The executor interrupts the task without a master, and settles it when a master is there."""
    interrupted.clear()
    master = Scripted(
        lambda n, _settled, _want: [leased(((), {}), envelope=1), HANG_UP][n] if n < 2 else patient(NOTHING)
    )
    master.greets = lambda: not master.holds or interrupted.is_set()
    with (
        fake_master(master) as served,
        at_work(served.address, print, executor=THREAD, executor_slots=SLOTS, reconnect_max_s=0.01) as executor,
    ):
        assert interrupted.wait(SOON_S)
        assert master.greeted_again.wait(SOON_S)
        executor.request_end()
        assert executor.ended()
    (row,) = master.settled
    assert row[2] == Outcome.TIMEOUT
    assert row[5] == f"exceeded time limit {LIMIT_S} s"


def test_a_result_that_the_master_refuses_becomes_a_failure_that_says_so() -> None:
    """The executor drops it and logs that if the master refuses the failure too."""
    refusals: list[int] = []
    twice = threading.Event()

    def script(_count: int, settled: Settled, _want: int) -> object:
        if settled and len(refusals) < 2:
            refusals.append(settled[0][2])
            if len(refusals) == 2:
                twice.set()
            return RemoteRefusal("no")
        return patient(NOTHING if refusals else leased("a"))

    master = Scripted(script)
    with (
        fake_master(master) as served,
        at_work(served.address, lambda item: item, executor=THREAD, executor_slots=1, reconnect_max_s=0.01) as executor,
    ):
        assert twice.wait(SOON_S)
        executor.request_end()
        assert executor.ended()
        reports: list[object] = [*executor.reports()]
    assert refusals == [Outcome.SUCCESS, Outcome.FATAL]
    assert any(isinstance(report, Trouble) for report in reports)


def test_tasks_that_arrive_at_an_executor_that_must_end_are_handed_back() -> None:
    """The executor had requested them before."""
    started, go = threading.Event(), threading.Event()

    def script(count: int, _settled: Settled, _want: int) -> object:
        if count == 0:
            started.set()
            assert go.wait(SOON_S)
            return leased("a")
        return NOTHING

    master = Scripted(script)
    with (
        fake_master(master) as served,
        at_work(served.address, lambda item: item, executor=THREAD, executor_slots=SLOTS) as executor,
    ):
        assert started.wait(SOON_S)
        executor.request_end()
        go.set()
        assert executor.ended()
    assert [(row[0], row[2]) for row in master.settled] == [(1, Outcome.RELEASED)]


def test_arguments_that_cannot_be_put_together_fail_only_their_task() -> None:
    """A client has sent JSON that is no call, for a task with dependencies."""

    class Ends:
        """A master that has the results of the dependencies."""

        def call(self, *_: object, **__: object) -> object:
            """Return all results in one part."""
            return [(True, b"1", [])]

    ((*_, payload),) = with_upstream_results(cast("Any", Ends()), [(1, 1, 1, 0, b'{"no": "call"}')], {1: (1, True)})
    with pytest.raises(DependencyArgumentsFailed, match="KeyError: 'args'"):
        pickle.loads(payload)
