"""Tests of results: the outcomes of futures, the ways to wait for them, and a master that ends."""

import asyncio
import pickle
import threading
import traceback
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_COMPLETED, as_completed, wait
from typing import Any

import pytest
from tests.client.functions import Brittle, Lonely, anything, double
from tests.client.masters import MasterState, client_of, never, serving
from tests.waiting import SOON_S, eventually

import distq
from distq.client.future import TaskFuture, settle_all
from distq.core.states import CANCELLED, DEAD, EXPIRED, SUCCEEDED
from distq.net.dial import CannotReach
from distq.protocol.hello import Greeting
from distq.tasks.failure import pack_failure


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make reconnects fast."""
    monkeypatch.setenv("DISTQ_RECONNECT_MAX_S", "100ms")


def failed(error: BaseException) -> Callable[[Any], Any]:
    """Return the outcome of a task that raised this error."""
    try:
        raise error  # noqa: TRY301 - so that it has a traceback
    except BaseException as raised:  # noqa: BLE001 - it was given to be raised
        packed = pack_failure(raised)
    return lambda _: (DEAD, packed, ["it failed"])


def outcome_of(outcome: Callable[[Any], Any]) -> BaseException:
    """Return the exception of the future of a task with this outcome."""
    with serving(MasterState(outcome)) as master, client_of(master) as client:
        future = client.submit(anything)
        error = future.exception(SOON_S)
        assert error is not None
        with pytest.raises(type(error)) as caught:
            future.result(0)
        assert caught.value is error
    return error


@pytest.mark.parametrize(
    "read_outcome",
    [
        lambda future: future.result(0),
        lambda future: list(future.stream(0)),
        lambda future: future.packed_outcome(0),
    ],
    ids=["result", "stream", "packed_outcome"],
)
def test_a_failed_future_does_not_grow_with_every_access(read_outcome: Callable[[TaskFuture[Any]], object]) -> None:
    """A traceback keeps the local variables of its frames: the future must not keep those of earlier callers."""
    future = TaskFuture[Any]()
    future.fail(ValueError("refused"))
    frames = []
    for _ in range(4):
        with pytest.raises(ValueError, match="refused") as caught:
            read_outcome(future)
        frames.append(len(traceback.extract_tb(caught.value.__traceback__)))
    assert len(set(frames)) == 1


def test_an_exception_has_its_own_type_and_the_remote_traceback() -> None:
    """The exception may be builtin, or of the program."""
    for error in (KeyError("gone"), Lonely("alone")):
        raised = outcome_of(failed(error))
        assert type(raised) is type(error)
        assert raised.args == error.args
        assert "Traceback (most recent call last)" in str(raised.__cause__)


def test_an_exception_that_cannot_be_rebuilt_is_a_task_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error has type, text and traceback."""
    outcome = failed(Lonely("alone"))
    monkeypatch.delattr("tests.client.functions.Lonely")
    error = outcome_of(outcome)
    assert isinstance(error, distq.TaskFailed)
    assert (error.kind, error.text) == ("tests.client.functions:Lonely", "alone")
    assert "Traceback" in error.remote_traceback
    assert str(error.__cause__) == "\n" + error.remote_traceback


@pytest.mark.parametrize(
    ("outcome", "kind", "text"),
    [
        ((DEAD, b"", ["killed by SIGKILL", "exit code 3"]), distq.TaskFailed, "killed by SIGKILL; exit code 3"),
        ((DEAD, b"", None), distq.TaskFailed, "given up"),
        ((DEAD, b"no pickle", None), distq.TaskFailed, "cannot be read"),
        ((CANCELLED, None, None), distq.TaskCancelled, "cancelled"),
        ((EXPIRED, None, None), distq.TaskExpired, "expired"),
    ],
)
def test_other_ends_are_errors_with_a_text(outcome: Any, kind: type[BaseException], text: str) -> None:
    """Each end has its own type of error."""
    error = outcome_of(lambda _: outcome)
    assert isinstance(error, kind)
    assert text in str(error)


def test_a_result_that_cannot_be_read_is_an_error_for_every_caller() -> None:
    """An asyncio program also gets the error, instead of waiting forever."""
    body = pickle.dumps(Brittle())
    error = outcome_of(lambda _: (SUCCEEDED, body, None))
    assert isinstance(error, distq.ResultUnreadable)
    assert "LookupError: a part is missing" in str(error)

    async def awaiting(future: TaskFuture[Any]) -> None:
        with pytest.raises(distq.ResultUnreadable):
            await asyncio.wait_for(asyncio.wrap_future(future), SOON_S)

    with serving(MasterState(lambda _: (SUCCEEDED, body, None))) as master, client_of(master) as client:
        asyncio.run(awaiting(client.submit(anything)))


def test_a_json_result_is_a_value() -> None:
    """The worker returns JSON for arguments in JSON."""
    state = MasterState()
    with serving(state) as master, client_of(master) as client:
        future = client.submit_named("a:b")
        eventually(lambda: state.known, "the task")
        state.end(1 << 40 | 1, SUCCEEDED, b'{"a":[1]}')
        assert future.result(SOON_S) == {"a": [1]}


def test_a_program_can_await_futures_in_every_way() -> None:
    """The test uses as_completed, wait, callbacks and asyncio, before and after the futures are done."""
    state = MasterState(never)
    with serving(state) as master, client_of(master) as client:
        futures = [client.submit(double, n) for n in range(4)]
        received: list[Any] = []
        futures[1].add_done_callback(received.append)
        eventually(lambda: len(state.known) == 4, "the tasks")
        keys = list(state.known)
        with pytest.raises(TimeoutError):
            futures[0].result(0.01)
        assert not futures[0].done()
        waiting = threading.Thread(target=lambda: received.append(wait(futures, SOON_S, FIRST_COMPLETED)))
        waiting.start()
        state.end(keys[1], SUCCEEDED, pickle.dumps(2))
        waiting.join()
        eventually(lambda: futures[1] in received, "the callback, in its own thread")
        assert any(getattr(one, "done", None) == {futures[1]} for one in received if not isinstance(one, TaskFuture))

        async def gather() -> list[int]:
            wrapped = [asyncio.wrap_future(future) for future in futures]
            for key in keys:
                state.end(key, SUCCEEDED, pickle.dumps(key & 0xFF))
            return await asyncio.gather(*wrapped)

        assert asyncio.run(gather()) == [1, 2, 3, 4]
        assert {future.result() for future in as_completed(futures, SOON_S)} == {1, 2, 3, 4}
        assert all(future.done() and not future.running() and not future.cancel() for future in futures)
        futures[0].add_done_callback(received.append)
        assert received[-1] is futures[0]
        assert "finished" in repr(futures[0])


def test_a_result_reaches_every_waiting_thread_once() -> None:
    """Threads that begin to wait before, during and after the end all get the result."""
    futures: list[TaskFuture[int]] = [TaskFuture() for _ in range(300)]
    results: list[list[int]] = [[], [], []]

    def reading(into: list[int], order: Iterable[TaskFuture[int]]) -> None:
        into += [future.result(SOON_S) for future in order]

    threads = [
        threading.Thread(target=reading, args=(results[0], futures)),
        threading.Thread(target=reading, args=(results[1], futures[::-1])),
        threading.Thread(target=lambda: results[2].extend(f.result() for f in as_completed(futures, SOON_S))),
    ]
    for thread in threads:
        thread.start()
    for at in range(0, 300, 30):
        rows: list[Any] = [(futures[n], (n, SUCCEEDED, pickle.dumps(n), None)) for n in range(at, at + 30)]
        settle_all(rows)
    for thread in threads:
        thread.join(SOON_S)
    assert results[0] == results[1][::-1] == sorted(results[2]) == list(range(300))


def test_tasks_of_a_master_restarted_without_a_store_are_lost(unused: int) -> None:
    """The master restarted without a store; the same client submits new tasks to the new master."""
    state = MasterState(never)
    with serving(state, port=unused) as first, client_of(first) as client:
        lost = [client.submit(double, n) for n in range(3)]
        client.flush()
        state.stop()
        first.stop()
        with serving(MasterState(epoch=2), port=unused):
            for future in lost:
                with pytest.raises(distq.TaskLost, match="restarted without a store"):
                    future.result(SOON_S)
            assert client.submit(double, 4).result(SOON_S) == 8


def test_a_restarted_master_with_a_store_continues_the_tasks(unused: int) -> None:
    """The master immediately reports ended and unknown tasks; the others continue."""
    state = MasterState(never, durable=True)
    with serving(state, port=unused) as first, client_of(first) as client:
        kept, gone = client.submit(double, 1), client.submit(double, 2)
        client.flush()
        state.stop()
        first.stop()
        after = MasterState(never, epoch=2, durable=True)
        after.known[1 << 40 | 1] = b""
        with serving(after, port=unused):
            with pytest.raises(distq.TaskLost, match="does not know"):
                gone.result(SOON_S)
            assert not kept.done()
            after.end(1 << 40 | 1, SUCCEEDED, pickle.dumps(2))
            assert kept.result(SOON_S) == 2


def test_a_task_whose_master_has_gone_before_the_reply_is_read_is_lost() -> None:
    """The reply to the submit was unread when the connection for results had found the new master."""
    state = MasterState(never)
    with serving(state) as master, client_of(master) as client:
        client.submit(double, 1)
        client.flush()
        eventually(lambda: client._session._receiver.master_connection.is_up, "the connection for results")
        state.gate.clear()
        late = client.submit(double, 2)
        eventually(lambda: len(state.submits) == 2, "the submit")
        client._session._on_hello(Greeting(epoch=2), None)  # type: ignore[arg-type]
        state.gate.set()
        with pytest.raises(distq.TaskLost):
            late.result(SOON_S)


def test_an_abandoned_client_leaves_no_thread_waiting() -> None:
    """The test covers running tasks, submits in flight, and waiting submits."""
    state = MasterState(never)
    with serving(state) as master:
        with client_of(master) as client:
            futures = [client.submit(double, 0)]
            client.flush()
            state.gate.clear()
            futures.append(client.submit(double, 1))
            eventually(lambda: len(state.submits) == 2, "the submit")
            futures.append(client.submit(double, 2))
        for future in futures:
            with pytest.raises(CannotReach, match="client was closed"):
                future.result(SOON_S)


def test_a_defect_behind_a_call_fails_only_the_futures() -> None:
    """The client repeats a call after one invalid answer of the master."""
    state = MasterState(lambda call: (SUCCEEDED, pickle.dumps(call[0][0]), None))
    nonsense = [5, {"a": 1}]
    answer = state._submit

    def submit(*args: Any) -> object:
        return nonsense.pop() if nonsense else answer(*args)

    state._submit = submit  # type: ignore[assignment,method-assign]
    with serving(state) as master, client_of(master) as client:
        for _ in range(2):
            assert client.submit(anything, 1).exception(SOON_S) is not None
        assert client.submit(anything, 1).result(SOON_S) == 1
