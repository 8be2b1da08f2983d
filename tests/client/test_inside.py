"""Tests of nested calls: done-callbacks, signal handlers and finalizers use the client that they interrupt."""

import logging
import pickle
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError
from contextlib import contextmanager
from itertools import pairwise
from typing import Any

import pytest
from tests.client.functions import Brittle, Exits, anything, double
from tests.client.masters import MasterState, client_of, serving
from tests.waiting import SOON_S, eventually

import distq
from distq.client.callbacks import Callbacks
from distq.core.states import CANCELLED, DEAD, SUCCEEDED
from distq.core.task import BY_CLIENT
from distq.tasks.failure import pack_failure

EPOCH = 1 << 40
QUICK_S = 0.05
STORM_S = 0.0013
NESTED_MAX = 5
"""Maximum number of nested handlers; a slow machine would otherwise never return from them."""
NEVER: Any = "never"


def quick(call: Any) -> Any:
    """Double numbers, and keep other tasks running."""
    value = call[0][0]
    return None if value == NEVER else (SUCCEEDED, pickle.dumps(2 * value), None)


@contextmanager
def started() -> Iterator[tuple[MasterState, distq.Client]]:
    """Yield a client with both connections."""
    state = MasterState(quick)
    with serving(state) as master, client_of(master) as client:
        assert client.submit(double, 1).result(SOON_S) == 2
        yield state, client


# -- callbacks -------------------------------------------------------------------------------------

CALLBACKS: dict[str, Callable[[distq.Client, Any], Any]] = {
    "waits for another": lambda client, _: client.submit(double, 4).result(SOON_S),
    "waits for several": lambda client, _: list(client.map(double, [1, 2], timeout=SOON_S)),
    "submits where a queue may be full": lambda client, _: (
        client.options(full="block").submit(double, 4).result(SOON_S)
    ),
    "cancels itself": lambda _, future: future.cancel(),
    "cancels another": lambda client, _: client.submit(double, NEVER).cancel(),
    "flushes": lambda client, _: client.flush(SOON_S),
    "shuts down": lambda client, _: client.shutdown(),
    "shuts down without waiting": lambda client, _: client.shutdown(wait=False, cancel_futures=True),
    "abandons": lambda client, _: client.abandon(),
}


@pytest.mark.parametrize("name", CALLBACKS)
@pytest.mark.parametrize("read_by", ["a caller", "the thread"])
def test_a_callback_may_use_the_client_like_a_program(name: str, read_by: str) -> None:
    """Any thread may read the result that causes the callback; the callback does not delay other results."""
    called = threading.Event()
    with started() as (state, client):
        future = client.submit(double, NEVER)
        assert client.flush(SOON_S)
        done: list[Any] = []

        def callback(one: Any) -> None:
            done.append(CALLBACKS[name](client, one))
            called.set()

        future.add_done_callback(callback)
        state.end(EPOCH | 2, SUCCEEDED, pickle.dumps(3))
        if read_by == "a caller":
            assert future.result(SOON_S) == 3
        assert called.wait(SOON_S)
        assert future.result(SOON_S) == 3
        assert len(done) == 1


def test_a_callback_that_waits_for_the_program_delays_no_result() -> None:
    """Callers and the client's thread still get results."""
    gate = threading.Event()
    with started() as (state, client):
        future = client.submit(double, NEVER)
        future.add_done_callback(lambda _: gate.wait(SOON_S))
        client.flush(SOON_S)
        state.end(EPOCH | 2, SUCCEEDED, pickle.dumps(3))
        assert future.result(SOON_S) == 3
        other = client.submit(double, 4)
        eventually(other.done, "another result, read by the thread")
        assert client.submit(double, 5).result(SOON_S) == 10
        gate.set()


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt(), ValueError("wrong")])
def test_an_exception_of_a_callback_is_logged_and_ends_nothing(
    error: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    """The exception ends neither the client's threads nor the program."""

    def callback(_: object) -> None:
        raise error

    with started() as (state, client):
        future = client.submit(double, NEVER)
        future.add_done_callback(callback)
        client.flush(SOON_S)
        with caplog.at_level(logging.ERROR):
            state.end(EPOCH | 2, SUCCEEDED, pickle.dumps(3))
            assert future.result(SOON_S) == 3
            eventually(lambda: caplog.records, "a line in the log")
        called = threading.Event()
        client.submit(double, 1).add_done_callback(lambda _: called.set())
        assert called.wait(SOON_S)


def test_ctrl_c_in_a_callback_that_runs_in_the_main_thread_is_passed_on() -> None:
    """After the end of the callbacks' thread, callbacks run in place, and Ctrl-C belongs to the program."""

    def interrupted() -> None:
        raise KeyboardInterrupt

    callbacks = Callbacks()
    callbacks.close()
    with pytest.raises(KeyboardInterrupt):
        callbacks.call(interrupted)


def test_a_callback_of_a_cancel_can_cancel() -> None:
    """The test covers a cancel by the client and a cancel that the master reports."""
    with started() as (state, client):
        futures = [client.submit(double, NEVER) for _ in range(4)]
        for one, other in pairwise(futures):
            one.add_done_callback(lambda _, other=other: other.cancel())  # type: ignore[misc] # bound now
        client.flush(SOON_S)
        state.end(EPOCH | 2, CANCELLED, None, [BY_CLIENT])
        for future in futures:
            with pytest.raises(CancelledError):
                future.result(SOON_S)


# -- signal handlers -------------------------------------------------------------------------------


@contextmanager
def interrupting(handler: Callable[[], Any], ready: Callable[[], object] = lambda: True) -> Iterator[list[Any]]:
    """Call `handler` once in a signal handler of this thread that finds `ready()`; yields what it returned or raised.

    Not by SIGALRM: with that pytest ends a test that hangs.
    """
    outcomes: list[Any] = []
    interrupted, over, thread = threading.Event(), threading.Event(), threading.get_ident()

    def handle(_number: int, _frame: object) -> None:
        if interrupted.is_set() or not ready():
            return
        interrupted.set()
        try:
            outcomes.append(handler())
        except Exception as error:  # noqa: BLE001 - whatever it raises is what is looked at
            outcomes.append(error)

    def interrupt() -> None:
        while not over.wait(QUICK_S) and not interrupted.is_set():
            signal.pthread_kill(thread, signal.SIGUSR1)

    before = signal.signal(signal.SIGUSR1, handle)
    other = threading.Thread(target=interrupt)
    other.start()
    try:
        yield outcomes
    finally:
        over.set()
        other.join()
        signal.signal(signal.SIGUSR1, before)


HANDLERS: dict[str, tuple[Callable[[distq.Client], Any], Any]] = {
    "waits": (lambda client: client.submit(double, 3).result(SOON_S), 6),
    "waits in vain": (lambda client: client.submit(double, NEVER).result(QUICK_S), TimeoutError),
    "waits for a full queue": (lambda client: client.options(full="raise").submit(double, 3).result(SOON_S), 6),
    "waits twice": (lambda client: [client.submit(double, n).result(SOON_S) for n in (1, 2)], [2, 4]),
    "cancels": (lambda client: client.submit(double, NEVER).cancel(), True),
    "flushes": (lambda client: (client.submit(double, 1), client.flush(SOON_S))[1], True),
}


@pytest.mark.parametrize("name", HANDLERS)
def test_a_signal_handler_may_use_the_client_while_its_thread_waits_for_a_result(name: str) -> None:
    """The handler may also get an immediate error; the awaited result arrives in each case."""
    handler, expected = HANDLERS[name]
    with started() as (state, client):
        future = client.submit(double, NEVER)
        client.flush(SOON_S)
        with interrupting(lambda: handler(client)) as outcomes:
            with pytest.raises(TimeoutError):
                future.result(0.5)
            eventually(lambda: outcomes, "the handler")
        if isinstance(expected, type):
            assert isinstance(outcomes[0], expected)
        else:
            assert outcomes == [expected]
        state.end(EPOCH | 2, SUCCEEDED, pickle.dumps(3))
        assert future.result(SOON_S) == 3


def test_a_signal_handler_whose_thread_reads_results_cannot_wait_for_all_of_them() -> None:
    """The handler would wait for itself. After the first result the client's own thread lets a caller read."""
    with started() as (state, client):
        future = client.submit(double, NEVER)
        with interrupting(client.shutdown, lambda: client._session._receiver.is_reading_here) as outcomes:
            while not outcomes:
                client.submit(double, 1).result(SOON_S)  # from then on this thread may read
                with pytest.raises(TimeoutError):
                    future.result(4 * QUICK_S)
        assert isinstance(outcomes[0], distq.CalledInside)
        state.end(EPOCH | 2, SUCCEEDED, pickle.dumps(3))
        assert future.result(SOON_S) == 3


def test_a_signal_handler_within_a_submit_gets_an_error_immediately() -> None:
    """The interrupted thread is the one that reads whether the task was accepted."""
    with started() as (state, client):
        state.gate.clear()

        def handler() -> Any:
            try:
                return client.submit(double, 3).result(SOON_S)
            finally:
                state.gate.set()

        with interrupting(handler, lambda: client._session._sender.is_sending_here) as outcomes:
            assert client.options(full="block").submit(double, 2).result(SOON_S) == 4
        assert isinstance(outcomes[0], distq.CalledInside)
        assert "signal handler" in outcomes[0].hint


def test_a_signal_handler_within_a_cancel_can_cancel() -> None:
    """Each cancel has a connection of its own."""
    with started() as (state, client):
        one, other = client.submit(double, NEVER), client.submit(double, NEVER)
        client.flush(SOON_S)
        state.cancel_gate.clear()

        def handler() -> Any:
            state.cancel_gate.set()
            return other.cancel()

        with interrupting(handler, lambda: state.cancels) as outcomes:
            assert one.cancel()
        assert outcomes == [True]


def test_futures_get_their_results_during_many_signals() -> None:
    """Signals arrive at any time, also in handlers: every result arrives, and every handler ends."""
    ended: list[Any] = []
    handlers: list[None] = []
    over: list[None] = []
    with started() as (_, client):

        def handle(_number: int, _frame: object) -> None:
            handlers.append(None)
            if len(handlers) < NESTED_MAX and not over:
                signal.setitimer(signal.ITIMER_REAL, STORM_S)
            try:
                ended.append(client.submit(double, 5).result(SOON_S) == 10)
            except distq.CalledInside:
                ended.append(None)
            finally:
                handlers.pop()
                if not over:
                    signal.setitimer(signal.ITIMER_REAL, STORM_S)

        before = signal.signal(signal.SIGALRM, handle)
        signal.setitimer(signal.ITIMER_REAL, STORM_S)
        try:
            for n in range(400):
                assert client.submit(double, n).result(SOON_S) == 2 * n
        finally:
            over.append(None)  # the last handler may run after the next statement
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
        assert client.flush(SOON_S)
    assert ended.count(True) > 0
    assert False not in ended


# -- outcomes that are more than values ------------------------------------------------------------


@pytest.mark.parametrize("value", [Exits(SystemExit), Exits(GeneratorExit), Brittle()])
def test_an_exception_of_unpickling_a_result_is_the_error_of_that_future(value: Any) -> None:
    """The program and the client continue."""
    with serving(MasterState(lambda _: (SUCCEEDED, pickle.dumps(value), None))) as master, client_of(master) as client:
        future = client.submit(anything, 1)
        for _ in range(2):
            with pytest.raises(distq.ResultUnreadable, match="cannot be read here"):
                future.result(SOON_S)


def test_ctrl_c_while_a_result_is_unpickled_is_passed_on() -> None:
    """The program can ask for the result again, because only the program was interrupted."""
    body = pickle.dumps(Exits(KeyboardInterrupt))
    with serving(MasterState(lambda _: (SUCCEEDED, body, None))) as master, client_of(master) as client:
        future = client.submit(anything, 1)
        for _ in range(2):
            with pytest.raises(KeyboardInterrupt):
                future.result(SOON_S)


def test_exceptions_are_unpickled_by_the_program_that_asks_for_them() -> None:
    """The thread that reads all results does not unpickle them: such an exception could end it."""
    failure = pack_failure(ValueError("wrong"))
    outcomes = [(DEAD, failure, ["it failed"]), (SUCCEEDED, pickle.dumps(1), None)]
    with serving(MasterState(lambda call: outcomes[call[0][0]])) as master, client_of(master) as client:
        failed, good = client.submit(double, 0), client.submit(double, 1)
        eventually(lambda: failed.done() and good.done(), "both ends")
        assert repr(failed).endswith("finished without a result>")
        assert good.result() == 1
        with pytest.raises(ValueError, match="wrong"):
            failed.result()
        assert repr(failed).endswith("finished raised ValueError>")
