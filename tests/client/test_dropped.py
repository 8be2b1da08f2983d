"""Tests of dropped clients, of refused submits that no code looks at, and of calls on futures."""

import gc
import logging
import pickle
import threading
import weakref
from typing import Any

import pytest
from tests.client.functions import double
from tests.client.masters import KEY, MasterState, client_of, never, serving
from tests.waiting import SOON_S, eventually

import distq
from distq.client.running_tasks import FRESH_S
from distq.core.states import SUCCEEDED

EPOCH = 1 << 40
REFUSED = (False, "QUEUE_FULL", "no room.")


def client_threads() -> int:
    """Return the number of threads of clients."""
    return sum(thread.name.startswith("distq-") for thread in threading.enumerate())


def let_go(client: distq.Client) -> "weakref.ref[Any]":
    """Submit as a request does that ends without shutting its client down."""
    session = weakref.ref(client._session)
    del client
    return session


def test_a_dropped_client_lives_for_as_long_as_a_future_or_a_callback_needs_it() -> None:
    """Futures that no code can reach any more do not count."""
    state = MasterState(never)
    with serving(state) as master:
        client = distq.Client(f"127.0.0.1:{master.address[1]}", KEY)
        kept = client.submit(double, 1)
        client.submit(double, 2)
        called = threading.Event()
        client.submit(double, 3).add_done_callback(lambda _: called.set())
        session = let_go(client)
        del client
        eventually(lambda: len(state.known) == 3, "the tasks")
        state.end(EPOCH | 3, SUCCEEDED, b"3")
        assert called.wait(SOON_S)
        assert not kept.done()
        assert not state.goodbyes
        state.end(EPOCH | 1, SUCCEEDED, b"1")
        assert kept.result(SOON_S) == 1
        eventually(lambda: state.goodbyes == 1, "the goodbye")
        eventually(lambda: client_threads() == 0, "the end of the threads")
        del kept
        eventually(lambda: (gc.collect(), session() is None)[1], "the end of the session")


def test_a_dropped_client_ends_when_its_last_future_is_dropped() -> None:
    """The client ends although its task runs for hours."""
    state = MasterState(never)
    with serving(state) as master:
        client = distq.Client(f"127.0.0.1:{master.address[1]}", KEY)
        future = client.submit(double, 1)
        client.flush(SOON_S)
        del client
        gc.collect()
        assert not state.goodbyes
        assert client_threads() == 2
        del future
        eventually(lambda: (gc.collect(), client_threads() == 0)[1], "the end of the threads")
        eventually(lambda: state.goodbyes == 1, "the goodbye")


def test_a_dropped_client_has_its_submits_accepted_first() -> None:
    """The program does not wait for results."""
    state = MasterState(never)
    with serving(state) as master:
        client = distq.Client(f"127.0.0.1:{master.address[1]}", KEY)
        for n in range(500):
            client.submit(double, n)
        del client
        eventually(lambda: len(state.bodies) == 500, "the submits")
        eventually(lambda: (gc.collect(), client_threads() == 0)[1], "the end of the threads")


# -- refused submits -------------------------------------------------------------------------------


def test_refused_submits_that_no_code_looks_at_are_logged_and_counted(caplog: pytest.LogCaptureFixture) -> None:
    """One log event covers many submits; `flush` also reports them, once."""
    state = MasterState(never)
    state.refuse = lambda _envelopes, _bodies: REFUSED
    with serving(state) as master, client_of(master) as client, caplog.at_level(logging.WARNING):
        for n in range(40):
            client.submit(double, n)
        assert not client.flush(SOON_S)
        assert client.refused == 40
        assert client.flush(SOON_S)
        client.shutdown()
    warnings = [record.getMessage() for record in caplog.records if "no code has looked" in record.getMessage()]
    assert 1 <= len(warnings) <= 2
    assert sum(int(line.split()[0]) for line in warnings) == 40
    assert all("no room." in line for line in warnings)


@pytest.mark.parametrize("way", ["result", "exception", "callback before", "wait before"])
def test_refused_submits_that_a_program_looks_at_are_not_logged(way: str, caplog: pytest.LogCaptureFixture) -> None:
    """The program already knows the error."""
    state = MasterState(never)
    state.refuse = lambda _envelopes, _bodies: REFUSED
    with serving(state) as master, client_of(master) as client, caplog.at_level(logging.WARNING):
        state.gate.clear()
        future = client.submit(double, 1)
        called = threading.Event()
        if way == "callback before":
            future.add_done_callback(lambda _: called.set())
        waiting = threading.Thread(target=lambda: future.exception(SOON_S))
        if way == "wait before":
            waiting.start()
        state.gate.set()
        if way == "result":
            with pytest.raises(distq.RefusedSubmit):
                future.result(SOON_S)
        elif way == "exception":
            assert isinstance(future.exception(SOON_S), distq.RefusedSubmit)
        elif way == "wait before":
            waiting.join(SOON_S)
        else:
            assert called.wait(SOON_S)
        assert client.flush(SOON_S)
        client.shutdown()
    assert "no code has looked" not in caplog.text
    assert client.refused == 1


# -- what a program asks of its futures ------------------------------------------------------------


def test_running_and_repr_use_the_masters_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """One call asks about five thousand futures, and its answer is valid for a tenth of a second."""
    at = [0.0]
    monkeypatch.setattr("distq.client.running_tasks._now", lambda: at[0])
    state = MasterState(never)
    with serving(state) as master, client_of(master) as client:
        state.gate.clear()
        futures = [client.submit(double, n) for n in range(3000)]
        assert "not accepted yet" in repr(futures[0])
        assert not futures[0].running()
        state.gate.set()
        assert client.flush(SOON_S)
        futures[0].cancelled()
        assert repr(futures[0]) == f"<TaskFuture tests.client.functions:double {futures[0].task_id} accepted>"
        assert futures[0]._repr_html_() == (
            f"<code>TaskFuture</code> <b>tests.client.functions:double</b> <code>{futures[0].task_id}</code> accepted"
        )
        assert "<b>&lt;script&gt;</b>" in distq.TaskFuture(name="<script>")._repr_html_()
        key = futures[7].task_key
        assert key is not None
        state.running = {key}
        assert [future.running() for future in futures].count(True) == 1
        state.running = set()
        assert futures[7].running()
        assert state.running_calls == 1
        assert "running" in repr(futures[7])
        at[0] += FRESH_S
        assert not futures[7].running()
        assert state.running_calls == 2
        state.end(key, SUCCEEDED, b"14")
        eventually(futures[7].done, "its end")
        assert not futures[7].running()
        assert repr(futures[7]).endswith(" finished>")
        assert futures[7].result() == 14
        assert repr(futures[7]).endswith(" finished returned int>")
        futures[8].cancel()
        assert repr(futures[8]).endswith(" cancelled>")


def test_running_is_true_before_the_connection_for_results_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    """The master has accepted the task; on a busy machine the thread that reads results connects later."""
    state = MasterState(never)
    with serving(state) as master, client_of(master) as client:
        link, connects = client._session._receiver.master_connection, threading.Event()
        dialled = link._dial
        monkeypatch.setattr(link, "_dial", lambda: (connects.wait(SOON_S), dialled())[1])
        future = client.submit(double, 1)
        assert client.flush(SOON_S)
        assert future.task_key is not None
        state.running = {future.task_key}
        assert future.running()
        assert not link.is_up
        connects.set()
        state.end(future.task_key, SUCCEEDED, pickle.dumps(2))
        assert future.result(SOON_S) == 2


def test_a_program_without_a_master_gets_a_warning_after_two_seconds(
    unused: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The message has the address and what to check."""
    monkeypatch.setenv("DISTQ_CONNECT_WAIT_S", "2500ms")
    client = distq.Client(f"127.0.0.1:{unused}", KEY)
    with caplog.at_level(logging.WARNING), pytest.raises(distq.CannotReach) as caught:
        client.submit(double, 1)
    client.abandon()
    warnings = [record.getMessage() for record in caplog.records]
    assert len(warnings) == 1
    assert f"No master has answered at 127.0.0.1:{unused} for 2 s" in warnings[0]
    assert "a submit waits for up to 2.5 s (DISTQ_CONNECT_WAIT_S)" in warnings[0]
    assert [entry.name for entry in caught.traceback if "/distq/" in str(entry.path)] == ["submit"]
    assert "DISTQ_ADDRESS" in caught.value.__notes__[0]
