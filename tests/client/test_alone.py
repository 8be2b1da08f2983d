"""Tests of one task at a time: its caller sends it and a waiting thread reads its result; nothing is lost."""

import contextlib
import pickle
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from tests.client.functions import double
from tests.client.masters import MasterState, client_of, never, serving
from tests.waiting import SOON_S, eventually

import distq
from distq.core.states import SUCCEEDED
from distq.net.dial import CannotReach
from distq.wire.errors import RemoteRefusal

EPOCH = 1 << 40


@contextmanager
def started(state: MasterState) -> Iterator[distq.Client]:
    """Yield a client with both connections and no submit in flight."""
    with serving(state) as master, client_of(master) as client:
        outcome, state.outcome = state.outcome, MasterState().outcome
        assert client.submit(double, 0).result(SOON_S) == 0
        state.outcome = outcome
        yield client


@contextmanager
def soon(work: Callable[[], object]) -> Iterator[None]:
    """Run `work` in another thread while this thread waits."""
    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        thread.join(SOON_S)


def test_each_of_consecutive_tasks_is_one_submit() -> None:
    """The client sends each submit immediately, whichever thread reads the reply to the one before."""
    state = MasterState()
    with started(state) as client:
        for n in range(200):
            assert client.submit(double, n).result(SOON_S) == 2 * n
        assert [number for number, *_ in state.submits] == list(range(1, 202))


def test_a_submit_without_a_waiting_thread_is_accepted() -> None:
    """No thread reads its result; `flush` and callbacks do not need a reader."""
    state = MasterState()
    called = threading.Event()
    with started(state) as client:
        client.submit(double, 1)
        assert client.flush(SOON_S)
        assert len(state.bodies) == 2
        client.submit(double, 2).add_done_callback(lambda _: called.set())
        assert called.wait(SOON_S)


def test_a_submit_without_a_reply_is_repeated() -> None:
    """The client repeats the submit with the same number over another connection, and it counts once."""
    state = MasterState()
    with started(state) as client:
        state.hang_up["submit"] = 1
        assert client.submit(double, 3).result(SOON_S) == 6
        assert [number for number, *_ in state.submits] == [1, 2, 2]
        assert len(state.bodies) == 2


@pytest.mark.parametrize("wait", [True, False])
def test_a_refused_submit_fails_its_future_with_and_without_a_waiting_thread(wait: bool) -> None:
    """`result()` raises it, and so does a future whose result no code had asked for."""
    state = MasterState()
    with started(state) as client:
        state.refuse = lambda _envelopes, _bodies: (False, "QUEUE_FULL", "no room.")
        future = client.submit(double, 1)
        if not wait:
            eventually(future.done, "the refusal")
        with pytest.raises(distq.RefusedSubmit, match="no room"):
            future.result(SOON_S)


def test_a_result_that_arrives_before_the_reply_to_its_submit_is_kept() -> None:
    """The two connections have no common order."""
    state = MasterState(never)
    with started(state) as client:
        state.gate.clear()
        future = client.submit(double, 4)
        state.end(EPOCH | 2, SUCCEEDED, pickle.dumps(8))
        with soon(state.gate.set):
            assert future.result(SOON_S) == 8


def test_many_threads_wait_together_and_each_gets_its_own_result() -> None:
    """One thread reads for all of them; when it leaves, another one continues."""
    state = MasterState()
    results: list[int] = []
    with started(state) as client:

        def loop(start: int) -> None:
            results.extend(client.submit(double, n).result(SOON_S) for n in range(start, start + 50))

        threads = [threading.Thread(target=loop, args=(start,)) for start in range(0, 200, 50)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(SOON_S)
    assert sorted(results) == [2 * n for n in range(200)]


def test_a_caller_that_stops_waiting_leaves_the_reading_to_others() -> None:
    """The caller's timeout ends, its task continues, and threads with other futures get their results."""
    state = MasterState(never)
    with started(state) as client:
        first, second = client.submit(double, 1), client.submit(double, 2)
        for _ in range(2):  # the second time this thread reads itself
            with pytest.raises(TimeoutError):
                first.result(0.01)
        client.flush(SOON_S)
        state.end(EPOCH | 3, SUCCEEDED, pickle.dumps(4))
        eventually(second.done, "the other one's result")
        state.end(EPOCH | 2, SUCCEEDED, pickle.dumps(2))
        assert (first.result(SOON_S), second.result(SOON_S)) == (2, 4)


def test_ctrl_c_interrupts_only_the_wait() -> None:
    """The interrupted caller may be reading: the result that it was about to read still arrives."""
    state = MasterState(never)
    main = threading.main_thread().ident
    assert main is not None
    with started(state) as client:

        def interrupt() -> None:
            eventually(lambda: client._session._receiver._read_lock.is_held, "the thread that reads")
            signal.pthread_kill(main, signal.SIGINT)

        for key in range(2, 8):
            future = client.submit(double, key)
            with pytest.raises(KeyboardInterrupt), soon(interrupt):
                future.result(SOON_S)
            state.end(EPOCH | key, SUCCEEDED, pickle.dumps(key))
            assert future.result(SOON_S) == key


def test_a_future_by_id_leaves_the_reply_to_the_submit_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """The call uses the connection on which the submit's reply is due, and must not take that reply for its own."""
    monkeypatch.setattr(
        "distq.client.submit_sender.DIRECT_POLL_S", SOON_S
    )  # the client's thread does not read it first
    with started(MasterState()) as client:
        for n in range(2, 12):
            sent = client.submit(double, n)
            unknown = client.future("1-fffff")
            with pytest.raises(distq.TaskLost):
                unknown.result(SOON_S)
            assert sent.result(SOON_S) == 2 * n


def test_ctrl_c_in_a_call_leaves_its_reply_to_no_other_call() -> None:
    """The next call sends a new request and does not take the reply to the interrupted one."""
    state = MasterState(never)
    main = threading.main_thread().ident
    assert main is not None
    with started(state) as client:
        future = client.submit(double, 1)
        assert not future.running()
        state.cancel_gate.clear()

        def interrupt() -> None:
            eventually(lambda: state.cancels, "the call at the master")
            signal.pthread_kill(main, signal.SIGINT)

        with pytest.raises(KeyboardInterrupt), soon(interrupt):
            future.cancel()
        state.cancel_gate.set()
        assert client._session.control.ask("running", [1]) == []


def test_a_closed_client_releases_its_waiting_callers() -> None:
    """The waiting caller returns immediately, although it reads itself."""
    with started(MasterState(never)) as client:
        future = client.submit(double, 1)
        with pytest.raises(TimeoutError):
            future.result(0.01)
        with soon(client.abandon), pytest.raises(CannotReach):
            future.result(SOON_S)


def test_a_reading_caller_finds_a_restarted_master_again() -> None:
    """The caller leaves the reconnect to the client's own threads, and gets its result."""
    state = MasterState(never)
    with started(state) as client:
        future = client.submit(double, 1)
        with pytest.raises(TimeoutError):
            future.result(0.01)
        state.hang_up["results"] = 1
        state.end(EPOCH | 2, SUCCEEDED, pickle.dumps(2))
        assert future.result(SOON_S) == 2


def test_a_refused_call_for_results_does_not_stop_the_next_call() -> None:
    """The waiting caller gets the error, and the client continues: it waits for no second reply to the same call."""
    state = MasterState(never)
    state.results_refused = 1
    with serving(state) as master, client_of(master) as client:
        refused = client.submit(double, 1)
        with contextlib.suppress(
            RemoteRefusal, TimeoutError
        ):  # otherwise it is too late, because its task is not accepted yet
            refused.result(0.5)
        eventually(lambda: not state.results_refused, "the refusal")
        state.outcome = MasterState().outcome
        assert client.submit(double, 2).result(SOON_S) == 4
