"""Tests that a client's futures and its shutdown are an executor's: wait, as_completed, callbacks, references."""

import asyncio
import concurrent.futures
import logging
import pickle
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest
from tests.client.functions import Empty, Falsy, Lonely, Plain, anything, double
from tests.client.masters import MasterState, client_of, never, serving
from tests.client.test_executor import EPOCH, no_collection
from tests.waiting import SOON_S, eventually

import distq
from distq.core.states import CANCELLED, DEAD, SUCCEEDED
from distq.core.task import BY_CLIENT
from distq.tasks.failure import pack_failure

Result = tuple[int, bytes | None, list[str] | None]
FAILED: Result = DEAD, pack_failure(ZeroDivisionError("of the task")), ["it failed"]


def returned(value: object) -> Result:
    """Return the outcome of a task that returned the value."""
    return SUCCEEDED, pickle.dumps(value), None


@contextmanager
def opened(state: MasterState) -> Iterator[distq.Client]:
    """Yield a client of a fake master."""
    with serving(state) as master, client_of(master) as client:
        yield client


@pytest.fixture
def held() -> MasterState:
    """Return the state of a master on which each task runs until the test ends it."""
    return MasterState(never)


# -- wait and as_completed -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mode", "first", "second", "done"),
    [
        (concurrent.futures.FIRST_COMPLETED, returned(1), None, {1}),
        (concurrent.futures.FIRST_COMPLETED, FAILED, None, {1}),
        (concurrent.futures.FIRST_EXCEPTION, FAILED, None, {1}),
        (concurrent.futures.FIRST_EXCEPTION, returned(1), FAILED, {1, 2}),
        (concurrent.futures.ALL_COMPLETED, FAILED, returned(2), {1, 2}),
    ],
)
@pytest.mark.parametrize("is_early", [True, False])
def test_the_function_wait_ends_as_its_mode_says(
    held: MasterState, mode: str, first: Result, second: Result | None, done: set[int], *, is_early: bool
) -> None:
    """Also if the outcomes were there before. The third task runs on, unless all are waited for."""
    with opened(held) as client:
        futures = [client.submit(double, n) for n in range(3)]
        eventually(lambda: len(held.known) == 3, "the tasks")
        ends = [(EPOCH | 1, first), (EPOCH | 2, second)]
        if mode == concurrent.futures.ALL_COMPLETED:
            ends.append((EPOCH | 3, returned(3)))
            done = done | {3}

        def end() -> None:
            for key, outcome in ends:
                if outcome is not None:
                    held.end(key, *outcome)

        ending = threading.Thread(target=end)
        ending.start()
        if is_early:
            eventually(lambda: {n for n, one in enumerate(futures, 1) if one.done()} == done, "the outcomes")
        found = concurrent.futures.wait([*futures, futures[0]], SOON_S, mode)
        ending.join()
        assert {futures.index(one) + 1 for one in found.done} == done  # type: ignore[arg-type] # these futures
        assert found.done | found.not_done == set(futures)


def test_the_function_wait_gives_up_at_its_timeout(held: MasterState) -> None:
    """What has no outcome is in `not_done`."""
    with opened(held) as client:
        ended, runs = client.submit(double, 1), client.submit(double, 2)
        eventually(lambda: len(held.known) == 2, "the tasks")
        held.end(EPOCH | 1, *returned(2))
        assert ended.result(SOON_S) == 2
        assert concurrent.futures.wait([ended, runs], 0.01) == ({ended}, {runs})


def test_futures_of_two_clients_and_a_pool_of_threads_are_waited_for_together(held: MasterState) -> None:
    """`as_completed` yields each future once, though it was given twice, in the order of the outcomes."""
    other = MasterState(never)
    with opened(held) as one, opened(other) as two, concurrent.futures.ThreadPoolExecutor(1) as threads:
        futures = [one.submit(double, 1), two.submit(double, 2), threads.submit(double, 3)]
        eventually(lambda: len(held.known) + len(other.known) == 2, "the tasks")
        completed = concurrent.futures.as_completed([*futures, *futures], SOON_S)
        assert next(completed) is futures[2]
        other.end(EPOCH | 1, *returned(22))
        assert next(completed).result() == 22
        held.end(EPOCH | 1, *returned(11))
        assert [future.result() for future in completed] == [11]


def test_as_completed_says_how_many_futures_have_no_outcome(held: MasterState) -> None:
    """The text is that of the standard library; a yielded future can be freed."""
    with opened(held) as client:
        futures = [client.submit(double, n) for n in range(4)]
        eventually(lambda: len(held.known) == 4, "the tasks")
        for key in (1, 2):
            held.end(EPOCH | key, *returned(key))
        assert [future.result(SOON_S) for future in futures[:2]] == [1, 2]
        with pytest.raises(TimeoutError, match=r"2 \(of 4\) futures unfinished"):
            list(concurrent.futures.as_completed(futures, 0.01))
        del futures[2:]
        completed = concurrent.futures.as_completed(futures, SOON_S)
        with no_collection():
            first = next(completed)
            futures.clear()
            seen = weakref.ref(first)
            del first
            assert seen() is None
            assert len(list(completed)) == 1


# -- cancel and callbacks --------------------------------------------------------------------------


def test_a_cancelled_future_says_so_in_every_way(held: MasterState) -> None:
    """Its error has a text, a second cancel is true, `wait` counts it as done, and its callback is called once."""
    with opened(held) as client:
        future = client.submit(double, 1)
        assert client.flush(SOON_S)
        called: list[object] = []
        future.add_done_callback(called.append)
        waiting = threading.Thread(target=concurrent.futures.wait, args=([future], SOON_S))
        waiting.start()
        assert future.cancel()
        assert future.cancel()
        waiting.join(SOON_S)
        assert not waiting.is_alive()
        assert (future.cancelled(), future.done(), future.running()) == (True, True, False)
        assert called == [future]
        for call in (future.result, future.exception):
            with pytest.raises(concurrent.futures.CancelledError, match=r"^the task was cancelled: by this client\.$"):
                call(0)
        assert concurrent.futures.wait([future], 0).done == {future}


def test_a_future_with_an_outcome_cannot_be_cancelled() -> None:
    """It keeps its result."""
    with opened(MasterState()) as client:
        future = client.submit(double, 1)
        assert future.result(SOON_S) == 2
        assert not future.cancel()
        assert (future.cancelled(), future.done(), future.result(0)) == (False, True, 2)


def test_a_cancelled_await_cancels_its_task(held: MasterState) -> None:
    """As with the futures of every executor; other tasks go on."""

    async def program(client: distq.Client) -> None:
        runs, other = client.submit(double, 1), client.submit(double, 2)
        awaiting = asyncio.ensure_future(asyncio.wait_for(asyncio.wrap_future(runs), 0.05))
        with pytest.raises(TimeoutError):
            await awaiting
        assert runs.cancelled()
        assert not other.done()

    with opened(held) as client:
        asyncio.run(program(client))


def test_every_callback_is_called_in_order_though_one_raises(
    held: MasterState, caplog: pytest.LogCaptureFixture
) -> None:
    """What it raises is logged. A callback that is added to a future with an outcome is called immediately."""
    called: list[object] = []

    def raises(_: object) -> None:
        raise LookupError("of a callback")

    with opened(held) as client, caplog.at_level(logging.ERROR):
        future = client.submit(double, 1)
        for number in range(3):
            future.add_done_callback(lambda _, number=number: called.append(number))  # type: ignore[misc] # bound now
            future.add_done_callback(raises)
        eventually(lambda: held.known, "the task")
        held.end(EPOCH | 1, *returned(2))
        eventually(lambda: called == [0, 1, 2], "the callbacks")
        here = threading.get_ident()
        future.add_done_callback(lambda _: called.append(threading.get_ident()))
        assert called[3:] == [here]
        future.add_done_callback(raises)
        eventually(lambda: caplog.text.count("LookupError: of a callback") == 4, "the log")


# -- exceptions and references ---------------------------------------------------------------------


@pytest.mark.parametrize("error", [Falsy, Empty])
def test_an_exception_that_is_false_is_raised_all_the_same(error: type[Exception]) -> None:
    """By a future, by `map`, and in asyncio."""
    with opened(MasterState(lambda _: (DEAD, pack_failure(error("false")), ["it failed"]))) as client:
        with pytest.raises(error):
            client.submit(double, 1).result(SOON_S)
        with pytest.raises(error):
            list(client.map(double, [1]))
        with pytest.raises(error):
            asyncio.run(awaited(client))


async def awaited(client: distq.Client) -> Any:
    """Let the loop submit."""
    return await asyncio.get_running_loop().run_in_executor(client, double, 1)


def test_a_client_keeps_no_argument_while_the_task_runs(held: MasterState) -> None:
    """The argument is freed with the program's last reference, without the garbage collector."""
    with opened(held) as client, no_collection():
        given = Plain()
        seen = weakref.ref(given)
        futures = [client.submit(anything, given), client.submit(anything, key=given)]
        del given
        assert client.flush(SOON_S)
        assert seen() is None
        assert not any(future.done() for future in futures)


@pytest.mark.parametrize("outcome", [returned(Plain()), (DEAD, pack_failure(Lonely()), None)])
def test_a_future_is_freed_with_its_result_or_exception(held: MasterState, outcome: Result) -> None:
    """Neither the client nor the traceback of the exception keeps it, and no garbage collector is needed."""
    with opened(held) as client, no_collection():
        future = client.submit(double, 1)
        eventually(lambda: held.known, "the task")
        held.end(EPOCH | 1, *outcome)
        kept: weakref.ref[Any]
        try:
            kept = weakref.ref(future.result(SOON_S))
        except Lonely as error:
            kept = weakref.ref(error)
        seen = weakref.ref(future)
        del future
        eventually(lambda: seen() is None, "the end of the reader's last reference")
        assert kept() is None


def test_a_client_is_freed_with_its_last_reference() -> None:
    """Neither its threads nor a future that has an outcome refer to it."""
    with serving(MasterState()) as master, no_collection():
        with client_of(master) as client:
            future = client.submit(double, 1)
            assert future.result(SOON_S) == 2
        seen = weakref.ref(client)
        del client
        assert seen() is None
        assert future.result(0) == 2


# -- submit and shutdown ---------------------------------------------------------------------------


def test_submit_passes_every_keyword_to_the_function() -> None:
    """Also those that are parameters of `submit` itself; without a function it is a TypeError."""
    state = MasterState(lambda call: returned(call[1]))
    with opened(state) as client:
        assert client.submit(anything, 1, self=2, fn=3).result(SOON_S) == {"self": 2, "fn": 3}
        with pytest.raises(TypeError):
            client.submit()  # type: ignore[call-overload] # the point
        with pytest.raises(TypeError):
            client.submit(fn=double)  # type: ignore[call-overload] # as above


def test_a_client_after_shutdown_accepts_no_task_and_keeps_its_results() -> None:
    """Every way to submit raises RuntimeError; a second shutdown does nothing."""
    with opened(MasterState()) as client:
        future = client.submit(double, 1)
        other = client.options(priority=9)
        with client as same:
            assert same is client
        client.shutdown()
        client.shutdown(wait=False, cancel_futures=True)
        assert future.result(0) == 2
        for submit in (
            lambda: client.submit(double, 1),
            lambda: other.submit(double, 1),
            lambda: client.map(double, [1]),
            lambda: client.map(double, [1], chunksize=2),
            lambda: client.map(double, [1], buffersize=2),
            lambda: client.submit_named("m:f"),
            lambda: client.chain(distq.call(double, 1)),
        ):
            with pytest.raises(RuntimeError, match="this client was shut down"):
                submit()


def test_a_map_whose_client_is_shut_down_yields_what_was_submitted() -> None:
    """With a `buffersize` it then raises, because no more calls can be submitted."""
    with opened(MasterState()) as client:
        whole, buffered = client.map(double, range(3)), client.map(double, range(3), buffersize=2)
        client.shutdown()
        assert list(whole) == [0, 2, 4]
        with pytest.raises(RuntimeError, match="this client was shut down"):
            next(buffered)


def test_shutdown_waits_for_the_tasks_that_it_cannot_cancel(held: MasterState) -> None:
    """`cancel_futures` cancels those that wait; no future is left without an outcome."""
    with opened(held) as client:
        futures = [client.submit(double, n) for n in range(20)]
        assert client.flush(SOON_S)
        held.end(EPOCH | 1, *returned(7))
        assert futures[0].result(SOON_S) == 7
        ending = threading.Thread(target=lambda: client.shutdown(cancel_futures=True))
        ending.start()
        eventually(lambda: held.cancels, "the cancel")
        assert held.cancels == [([EPOCH | key for key in range(2, 21)], False)]
        held.end(EPOCH | 2, *returned(8))
        for key in range(3, 21):
            assert ending.is_alive()
            held.end(EPOCH | key, CANCELLED, None, [BY_CLIENT])
        ending.join(SOON_S)
        assert not ending.is_alive()
        assert futures[1].result(0) == 8
        assert [future.cancelled() for future in futures] == [False] * 2 + [True] * 18


def test_threads_that_submit_while_another_one_shuts_down_get_a_result_or_an_error() -> None:
    """No future is left without an outcome, whichever comes first."""
    with opened(MasterState()) as client:
        futures: list[list[distq.TaskFuture[int]]] = [[] for _ in range(4)]

        def busy(own_futures: list[distq.TaskFuture[int]]) -> None:
            with suppress(RuntimeError):
                while True:
                    own_futures.append(client.submit(double, len(own_futures)))

        threads = [threading.Thread(target=busy, args=(own_futures,)) for own_futures in futures]
        for thread in threads:
            thread.start()
        eventually(lambda: all(len(own_futures) > 10 for own_futures in futures), "the submits")
        client.shutdown()
        for thread in threads:
            thread.join(SOON_S)
            assert not thread.is_alive()
        for own_futures in futures:
            assert [future.result(SOON_S) for future in own_futures] == [2 * n for n in range(len(own_futures))]
