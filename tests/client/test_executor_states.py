"""Tests of a client's futures in each of their states, in all methods, and of the ways in which a client ends."""

import asyncio
import concurrent.futures
import logging
import threading
from collections.abc import Callable

import pytest
from tests.client.functions import double
from tests.client.masters import KEY, MasterState, doubled, never, serving
from tests.client.test_executor import EPOCH
from tests.client.test_executor_futures import FAILED, opened, returned
from tests.waiting import SOON_S, eventually

import distq
from distq.core.states import CANCELLED
from distq.core.task import BY_CLIENT

ELSEWHERE = CANCELLED, None, ["by an operator"]
"""The outcome of a task that another program has cancelled."""
Outcome = tuple[int, bytes | None, list[str] | None]


@pytest.fixture
def held() -> MasterState:
    """Return the state of a master on which each task runs until the test ends it."""
    return MasterState(never)


def raised_by(call: Callable[[], object]) -> type[BaseException] | None:
    """Return the class of what the call raises; None if it returns."""
    try:
        call()
    except BaseException as error:  # noqa: BLE001 - whatever it raises
        return type(error)
    return None


@pytest.mark.parametrize(
    ("state", "facts", "raises", "text"),
    [
        ("accepted", (False, False, False), (TimeoutError, TimeoutError), "accepted"),
        ("running", (False, False, True), (TimeoutError, TimeoutError), "running"),
        ("returned", (True, False, False), (None, None), "finished returned int"),
        ("failed", (True, False, False), (ZeroDivisionError, None), "finished raised ZeroDivisionError"),
        ("cancelled", (True, True, False), (concurrent.futures.CancelledError,) * 2, "cancelled"),
        ("cancelled elsewhere", (True, False, False), (distq.TaskCancelled, None), "finished raised TaskCancelled"),
    ],
)
def test_the_methods_of_a_future_agree_on_its_state(
    held: MasterState,
    state: str,
    facts: tuple[bool, bool, bool],
    raises: tuple[type[BaseException] | None, type[BaseException] | None],
    text: str,
) -> None:
    """`done`, `cancelled` and `running`; what `result` and `exception` raise without waiting; `repr`."""
    ends: dict[str, Outcome] = {"returned": returned(7), "failed": FAILED, "cancelled elsewhere": ELSEWHERE}
    with opened(held) as client:
        future = client.submit(double, 1)
        assert client.flush(SOON_S)
        if state == "running":
            held.running.add(EPOCH | 1)
        if state == "cancelled":
            assert future.cancel()
        if state in ends:
            held.end(EPOCH | 1, *ends[state])
            eventually(future.done, "the outcome")
        assert (future.done(), future.cancelled(), future.running()) == facts
        assert (raised_by(lambda: future.result(0)), raised_by(lambda: future.exception(0))) == raises
        assert repr(future) == f"<TaskFuture tests.client.functions:double 1-1 {text}>"
        if state != "running":
            assert future.cancel() == (state not in ends)


@pytest.mark.parametrize("outcome", [returned(7), FAILED, ELSEWHERE, None])
@pytest.mark.parametrize("is_late", [False, True])
def test_a_callback_finds_the_outcome_in_its_future(
    held: MasterState, outcome: Outcome | None, *, is_late: bool
) -> None:
    """Of every kind (None: this client cancels the task), whether it was added before the end or after it."""
    found: list[object] = []

    def look(future: distq.TaskFuture[int]) -> None:
        found.append((future.cancelled(), raised_by(lambda: future.result(0))))

    with opened(held) as client:
        future = client.submit(double, 1)
        assert client.flush(SOON_S)
        if not is_late:
            future.add_done_callback(look)  # type: ignore[arg-type] # it is called with this future
        if outcome is None:
            assert future.cancel()
        else:
            held.end(EPOCH | 1, *outcome)
            eventually(future.done, "the outcome")
        if is_late:
            future.add_done_callback(look)  # type: ignore[arg-type] # as above
        eventually(lambda: found, "the callback")
        assert found == [(outcome is None, raised_by(lambda: future.result(0)))]


def test_a_callback_that_ends_programs_ends_nothing(held: MasterState, caplog: pytest.LogCaptureFixture) -> None:
    """SystemExit of a callback is logged; later callbacks of this and other futures are called."""
    called: list[int] = []

    def exits(_: object) -> None:
        raise SystemExit(3)

    with opened(held) as client, caplog.at_level(logging.ERROR):
        futures = [client.submit(double, n) for n in range(2)]
        assert client.flush(SOON_S)
        for n, future in enumerate(futures):
            future.add_done_callback(exits)
            future.add_done_callback(lambda _, n=n: called.append(n))  # type: ignore[misc] # bound now
        for n in range(2):
            held.end(EPOCH | n + 1, *returned(n))
        eventually(lambda: 1 in called, "the callback of the second future")
        assert [future.result(SOON_S) for future in futures] == [0, 1]
        assert "SystemExit: 3" in caplog.text


@pytest.mark.parametrize("outcome", [returned(7), FAILED, None])
def test_threads_that_wait_in_result_and_exception_get_the_outcome(held: MasterState, outcome: Outcome | None) -> None:
    """Also one that this client cancels (None) meanwhile."""
    found: list[tuple[str, object]] = []
    with opened(held) as client:
        future = client.submit(double, 1)
        assert client.flush(SOON_S)

        def wait(method: str) -> None:
            try:
                value = getattr(future, method)(SOON_S)
                found.append((method, type(value)))
            except BaseException as error:  # noqa: BLE001 - whatever it raises
                found.append((method, type(error)))

        threads = [threading.Thread(target=wait, args=(method,)) for method in ("result", "exception")]
        for thread in threads:
            thread.start()
        if outcome is None:
            assert future.cancel()
        else:
            held.end(EPOCH | 1, *outcome)
        for thread in threads:
            thread.join(SOON_S)
        cancelled = concurrent.futures.CancelledError
        expected: dict[str, object] = {"result": cancelled, "exception": cancelled}
        if outcome is FAILED:
            expected = {"result": ZeroDivisionError, "exception": ZeroDivisionError}
        elif outcome is not None:
            expected = {"result": int, "exception": type(None)}
        assert dict(found) == expected


def test_a_map_yields_what_has_come_before_its_timeout(held: MasterState) -> None:
    """Then it raises TimeoutError, and ends."""
    held.outcome = lambda call: doubled(call) if call[0][0] < 2 else None
    with opened(held) as client:
        results = client.map(double, range(3), timeout=1.0)
        assert [next(results), next(results)] == [0, 2]
        with pytest.raises(TimeoutError):
            next(results)
        assert list(results) == []


# -- asyncio ---------------------------------------------------------------------------------------


def test_a_loop_that_has_ended_is_not_called_when_the_outcome_arrives(
    held: MasterState, caplog: pytest.LogCaptureFixture
) -> None:
    """The future of the loop is forgotten with it; that of the client has its outcome."""
    futures: list[distq.TaskFuture[int]] = []

    async def program(client: distq.Client) -> None:
        futures.append(client.submit(double, 1))
        asyncio.wrap_future(futures[0])
        asyncio.get_running_loop().run_in_executor(client, double, 2)

    with opened(held) as client, caplog.at_level(logging.ERROR):
        asyncio.run(program(client))
        assert client.flush(SOON_S)
        for key in (1, 2):
            held.end(EPOCH | key, *returned(key))
        assert futures[0].result(SOON_S) == 1
        eventually(lambda: not client._session.pending_futures(), "the other outcome")
        assert caplog.text == ""


def test_a_cancelled_wrapper_leaves_an_outcome_that_is_there() -> None:
    """The task has ended; only the future of asyncio is cancelled."""

    async def program(client: distq.Client) -> None:
        future = client.submit(double, 1)
        await asyncio.to_thread(future.result, SOON_S)
        wrapper = asyncio.wrap_future(future)
        wrapper.cancel()
        await asyncio.wait([wrapper])  # Python 3.15 gives the wrapper the outcome at once
        assert (future.cancelled(), future.result(0)) == (False, 2)

    with opened(MasterState()) as client:
        asyncio.run(program(client))


# -- the end of a client ---------------------------------------------------------------------------


@pytest.mark.parametrize("wait", [True, False])
def test_a_shutdown_with_cancel_futures_leaves_no_future_without_an_outcome(held: MasterState, *, wait: bool) -> None:
    """Without `wait` it returns before the tasks that run have ended; their results arrive later."""
    with opened(held) as client:
        futures = [client.submit(double, n) for n in range(3)]
        assert client.flush(SOON_S)
        ending = threading.Thread(target=lambda: client.shutdown(wait, cancel_futures=True))
        ending.start()
        eventually(lambda: held.cancels, "the cancel")
        if not wait:
            ending.join(SOON_S)
            assert not ending.is_alive()
        held.end(EPOCH | 1, *returned(7))
        for key in (2, 3):
            held.end(EPOCH | key, CANCELLED, None, [BY_CLIENT])
        ending.join(SOON_S)
        assert futures[0].result(SOON_S) == 7
        eventually(lambda: all(future.done() for future in futures), "the outcomes")
        assert [future.cancelled() for future in futures] == [False, True, True]


def test_a_shutdown_just_after_a_cancel_returns() -> None:
    """Whether the task was sent, or cancelled before that."""
    with opened(MasterState()) as client:
        assert client.submit(double, 1).result(SOON_S) == 2
        for _ in range(20):
            client.submit(double, 2).cancel()
        client.shutdown()


def test_a_map_outlives_its_client() -> None:
    """All of its calls were submitted, and the program has no other reference to the client."""
    with serving(MasterState()) as master:
        client = distq.Client(f"127.0.0.1:{master.address[1]}", KEY)
        results = client.map(double, range(10))
        threads = client._session._threads
        del client
        assert list(results) == [*range(0, 20, 2)]
        for thread in threads:
            thread.join(SOON_S)
            assert not thread.is_alive()


def test_a_map_whose_client_was_shut_down_without_wait_yields_all_results() -> None:
    """The client ends when its last future has its outcome."""
    with opened(MasterState()) as client:
        results = client.map(double, range(10))
        client.shutdown(wait=False)
        assert list(results) == [*range(0, 20, 2)]
        for thread in client._session._threads:
            thread.join(SOON_S)
            assert not thread.is_alive()


def test_threads_that_switch_often_find_every_outcome() -> None:
    """`wait` for a hundred futures, while the client settles them in another thread."""
    with opened(MasterState()) as client:
        found: list[int] = []

        def wait() -> None:
            futures = {client.submit(double, n) for n in range(100)}
            found.append(len(concurrent.futures.wait(futures, SOON_S).done))

        threads = [threading.Thread(target=wait) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(SOON_S)
        assert found == [100] * 4
