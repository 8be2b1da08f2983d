"""Tests of an executor with a fake master: what it settles, requests, holds and releases."""

import pickle
import threading
import time
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

import pytest
from tests.net.fake_master import HANG_UP, ReceivedCall, fake_master
from tests.waiting import SOON_S, eventually
from tests.worker.at_work import NOTHING, at_work, leased

import distq
from distq.core.option_values import PROCESS, THREAD
from distq.core.outcome import Outcome
from distq.tasks.failure import exception_of
from distq.wire.errors import RemoteRefusal
from distq.worker.shared.batch_page import BatchPage
from distq.worker.shared.page import Blame
from distq.worker.shared.reports import Connected, Disconnected, Failed, Trouble

Settled = list[tuple[int, int, int, Any, float, str]]
Script = Callable[[int, Settled, int], object]


class Scripted:
    """A fake master that records greetings and exchanges, and answers by a test's script."""

    def __init__(self, script: Script) -> None:
        self.hellos: list[dict[str, Any]] = []
        self.greeting: dict[str, Any] = {}
        """Further fields of the reply to the greeting."""
        self.settled: Settled = []
        self.wants: list[int] = []
        self.idle = threading.Event()
        """Set when the executor waits for a task."""
        self._script = script
        self._count = 0
        self._end = threading.Event()

    def __call__(self, call: ReceivedCall) -> object:
        """Answer a call."""
        _, method, args = call
        if method == "hello":
            self.hellos.append(args[0])
            return {"protocol": 1, **self.greeting}
        settled, want, wait_s = args
        count, self._count = self._count, self._count + 1
        answer = self._script(count, settled, want)
        if answer is not HANG_UP and not isinstance(answer, Exception):
            self.settled += settled
        if want:
            self.wants.append(want)
        if isinstance(answer, Exception):
            raise answer
        if answer is NOTHING and wait_s:
            self.idle.set()
            self._end.wait(SOON_S)
        return answer

    def end(self) -> None:
        """Answer the exchanges that still wait."""
        self._end.set()


def outcomes(settled: Settled) -> list[tuple[int, int, object]]:
    """Return task, outcome and unpickled value of each settlement."""
    return [(task, outcome, body and pickle.loads(body)) for task, _, outcome, body, *_ in settled]


def exception_text(body: bytes | None) -> str:
    """Return the text of a failure."""
    return str(exception_of(body, None))


def square(item: Any) -> object:
    """Return the square, as the handler of most tests."""
    return item * item


def run(script: Script, handler: Callable[[Any], object] = square, **given: object) -> tuple[Scripted, list[object]]:
    """Let an executor work until it waits for a task, and then end it."""
    master = Scripted(script)
    with fake_master(master) as served, at_work(served.address, handler, **given) as executor:
        assert master.idle.wait(SOON_S)
        executor.request_end()
        assert executor.ended()
        reports: list[object] = [*executor.reports()]
        master.end()
    return master, reports


def test_results_are_sent_with_the_next_request() -> None:
    """One round trip settles a batch and leases the next; the second requests more."""
    master, reports = run(lambda n, _settled, _want: leased(3, 4, first=n * 2 + 1) if n < 2 else NOTHING)
    assert outcomes(master.settled) == [(1, 0, 9), (2, 0, 16), (3, 0, 9), (4, 0, 16)]
    assert master.wants == [1, 2, 4]
    assert reports[0] == Connected(stdlib_server=False)
    assert master.hellos[0]["role"] == "executor"
    assert master.hellos[0]["holds"] == []


def test_an_exception_is_settled_as_a_failure_and_reported() -> None:
    """The client gets type, text and traceback, and the log a line."""
    master, reports = run(lambda n, _settled, _want: NOTHING if n else leased("a"))
    (settled,) = master.settled
    assert settled[2] == Outcome.FAILURE
    assert settled[5].startswith("TypeError: can't multiply")
    assert Failed("0-1", "plain", 1, settled[5]) in reports


def test_a_lost_connection_costs_no_result() -> None:
    """The executor reconnects, names the tasks that it holds, and settles them first."""
    master, reports = run(lambda n, _settled, _want: [leased(3), HANG_UP, NOTHING][n], reconnect_max_s=0.01)
    assert outcomes(master.settled) == [(1, 0, 9)]
    assert [hello["holds"] for hello in master.hellos] == [[], [(1, 1)]]
    assert any(isinstance(report, Disconnected) for report in reports)


def test_a_task_ends_while_the_master_is_away() -> None:
    """The connection breaks during the task, which does not notice."""
    running, is_broken = threading.Event(), threading.Event()

    def handler(item: Any) -> object:
        running.set()
        assert is_broken.wait(SOON_S)
        return item

    master = Scripted(lambda n, _settled, _want: NOTHING if n else leased("kept"))
    with fake_master(master) as served, at_work(served.address, handler, reconnect_max_s=0.01):
        assert running.wait(SOON_S)
        served.drop()
        is_broken.set()
        assert master.idle.wait(SOON_S)
        master.end()
    assert outcomes(master.settled) == [(1, 0, "kept")]


def test_an_executor_that_must_end_finishes_its_task_and_hands_the_others_back() -> None:
    """The others go back unstarted, without a counted delivery."""
    running, go = threading.Event(), threading.Event()

    def handler(item: Any) -> object:
        running.set()
        assert go.wait(SOON_S)
        return item

    master = Scripted(lambda n, _settled, _want: NOTHING if n else leased("a", "b", "c"))
    with fake_master(master) as served, at_work(served.address, handler) as executor:
        assert running.wait(SOON_S)
        executor.request_end()
        go.set()
        assert executor.ended()
        assert executor.page.counts.released == 2
    assert outcomes(master.settled) == [(1, 0, "a"), (2, 2, None), (3, 2, None)]


def test_a_waiting_executor_ends_immediately() -> None:
    """A drain of idle executors takes no time."""
    master = Scripted(lambda _n, _settled, _want: NOTHING)
    with fake_master(master) as served, at_work(served.address, square) as executor:
        assert master.idle.wait(SOON_S)
        started_at = time.perf_counter()
        executor.request_end()
        assert executor.ended()
        assert time.perf_counter() - started_at < 1.0
        master.end()


def test_an_executor_without_a_supervisor_ends() -> None:
    """It ends while it waits for a task too."""
    master = Scripted(lambda _n, _settled, _want: NOTHING)
    with fake_master(master) as served, at_work(served.address, square) as executor:
        assert master.idle.wait(SOON_S)
        executor.supervisor_ends()
        assert executor.ended()
        master.end()


def test_a_batch_that_takes_too_long_is_handed_back() -> None:
    """Other executors may be free: a task waits behind another one for only a fraction of a second."""
    master, _ = run(lambda n, _settled, _want: leased(0.4, 0.0, 0.0) if not n else NOTHING, time.sleep)
    assert outcomes(master.settled) == [(2, 2, None), (3, 2, None), (1, 0, None)]


def test_results_of_a_long_batch_are_sent_before_its_end() -> None:
    """The executor settles them during the batch, without a request for more tasks."""
    counts: list[tuple[int, int]] = []

    def script(n: int, settled: Settled, want: int) -> object:
        counts.append((len(settled), want))
        return NOTHING if n else leased(*[0.06] * 3)

    run(script, time.sleep)
    assert counts[1] == (1, 0)


def test_large_results_are_sent_before_they_fill_a_frame() -> None:
    """A frame stays far below the limit, whatever a batch returns."""
    sizes: list[int] = []

    def script(n: int, settled: Settled, _want: int) -> object:
        sizes.append(sum(len(body or b"") for _, _, _, body, _, _ in settled))
        return NOTHING if n else leased(*range(4))

    run(script, lambda _: b"x" * (5 << 20), payload_bytes_max=16 << 20)
    assert 5 << 20 < max(sizes) < 6 << 20


def test_a_result_that_the_master_refuses_becomes_a_failure_that_says_so() -> None:
    """The executor does not send it again, which would block all other results."""
    refusal = RemoteRefusal("a result of 9 bytes is too large here")
    master, _ = run(lambda n, _settled, _want: [leased(3), refusal, NOTHING][n], reconnect_max_s=0.01)
    (settled,) = master.settled
    assert settled[2] == Outcome.FATAL
    assert "The task had run, but its result was refused" in settled[5]
    assert "too large here" in exception_text(settled[3])


def test_results_that_are_refused_twice_are_dropped_and_reported() -> None:
    """Their leases end, because the next greeting does not contain them."""
    refusal = RemoteRefusal("no")
    master, reports = run(lambda n, _settled, _want: [leased(3), refusal, refusal, NOTHING][n], reconnect_max_s=0.01)
    assert master.settled == []
    assert any(isinstance(report, Trouble) for report in reports)
    assert master.hellos[-1]["holds"] == []


def test_the_page_names_the_running_task() -> None:
    """The supervisor reads from it which task is to blame."""
    seen: list[object] = []
    executors: list[Any] = []

    def handler(item: Any) -> object:
        seen.append(executors[0].page.running)
        return item

    master = Scripted(lambda n, _settled, _want: NOTHING if n else leased("a", first=77))
    with fake_master(master) as served, at_work(served.address, handler) as executor:
        executors.append(executor)
        assert master.idle.wait(SOON_S)
        assert executor.page.running is None
        assert executor.page.counts.done == 1
        master.end()
    assert seen == [(77, 1)]


@pytest.mark.parametrize("accepts_notes", [True, False])
def test_progress_of_a_running_task_goes_only_to_masters_that_accept_it(accepts_notes: bool) -> None:
    """A master of an older version would refuse the settlements beside it."""
    received = threading.Event()

    def script(count: int, settled: Settled, _want: int) -> object:
        if any(row[2] == Outcome.PROGRESS for row in settled):
            received.set()
        return leased(2) if count == 0 else NOTHING

    def recording(item: object) -> object:
        distq.current().progress(0.5, "half")
        return item if received.wait(SOON_S if accepts_notes else 0.3) is accepts_notes else -1

    master = Scripted(script)
    master.greeting = {"notes": accepts_notes}
    with fake_master(master) as served, at_work(served.address, recording) as executor:
        assert master.idle.wait(SOON_S)
        executor.request_end()
        assert executor.ended()
        master.end()
    assert outcomes([row for row in master.settled if row[2] == Outcome.SUCCESS]) == [(1, 0, 2)]
    assert received.is_set() is accepts_notes


def settling(count: int, lease: Callable[[int], object], handler: Callable[[Any], object], executor: str) -> Scripted:
    """Let an executor of any kind settle this number of tasks, one lease after the other."""
    settled = threading.Event()
    known: set[int] = set()
    given = 0

    def script(_count: int, rows: Settled, want: int) -> object:
        nonlocal given
        known.update(row[0] for row in rows)
        if len(known) == count:
            settled.set()
        if not want or given == count or given > len(known):
            return ([], [])
        given += 1
        return lease(given - 1)

    master = Scripted(script)
    with fake_master(master) as served, at_work(served.address, handler, executor=executor, executor_slots=1):
        assert settled.wait(SOON_S)
    return master


class Nameless(type):
    """A class whose name raises an exception."""

    @property
    def __name__(cls) -> str:  # type: ignore[override]
        """Raise instead of returning a name."""
        raise SystemExit(9)


class WithoutName(Exception, metaclass=Nameless):
    """An exception that cannot be described."""


class WithoutText(Exception):
    """Another exception that cannot be described."""

    def __str__(self) -> str:
        raise SystemExit(9)

    __repr__ = __str__

    def __reduce__(self) -> tuple[Any, ...]:
        raise KeyboardInterrupt


def raises(item: Any) -> object:
    """Raise one of these exceptions, or return."""
    if item in (WithoutName, WithoutText):
        raise item
    return item


@pytest.mark.parametrize("executor", [PROCESS, THREAD])
def test_any_exception_of_a_task_is_its_failure_and_the_next_task_runs(executor: str) -> None:
    """The exception ends neither the executor nor one of its slots."""
    items = [WithoutName, WithoutText, "fine"]
    master = settling(3, lambda n: leased(items[n], first=n + 1), raises, executor=executor)
    assert [(row[0], row[2]) for row in master.settled] == [(1, Outcome.FAILURE), (2, Outcome.FAILURE), (3, 0)]
    assert "SystemExit" in master.settled[0][5]
    assert master.settled[1][5].startswith("WithoutText")


tenant: ContextVar[str] = ContextVar("tenant", default="none")


def sets_tenant(item: Any) -> object:
    """Return the context variable's value, and set another one."""
    before = tenant.get()
    tenant.set(item)
    return before


@pytest.mark.parametrize("limit_s", [None, 1e10])
@pytest.mark.parametrize("executor", [PROCESS, THREAD])
def test_a_context_variable_ends_with_its_task(executor: str, limit_s: float | None) -> None:
    """It ends whether a timer is set or not; no timer accepts ten billion seconds."""
    envelopes = [("work", "plain", "plain", limit_s)]
    master = settling(2, lambda n: (envelopes, leased("a", first=n + 1)[1]), sets_tenant, executor=executor)
    assert outcomes(master.settled) == [(1, 0, "none"), (2, 0, "none")]


def test_a_task_is_to_blame_until_its_settlement_is_answered() -> None:
    """The page names the task until the master has answered."""
    seen: list[Blame] = []

    def script(count: int, _settled: Settled, _want: int) -> object:
        seen.append(page[0].blame)
        return NOTHING if count else leased("a")

    page: list[BatchPage] = []
    master = Scripted(script)
    with fake_master(master) as served, at_work(served.address, square_of_text) as executor:
        assert isinstance(executor.page, BatchPage)
        page.append(executor.page)
        assert master.idle.wait(SOON_S)
        assert list(executor.page.blame.running) == [(1, 1)]
        master.end()
        eventually(lambda: not executor.page.blame.running, "the end of the blame")
    assert [list(blame.running) for blame in seen[:2]] == [[], [(1, 1)]]


def square_of_text(item: Any) -> object:
    """Return the text twice."""
    return item + item
