"""Tests of `distq.progress` and of `map(..., progress=True)`, with fake masters and a place that records drawings."""

import asyncio
import gc
import threading
import weakref
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest
from tests.client.functions import Plain, double
from tests.client.masters import KEY, MasterState, client_of, doubled, never, serving
from tests.client.progress.test_drawing import FakePlace
from tests.waiting import SOON_S, eventually

import distq
from distq.client.progress import mapping, waiting
from distq.client.progress.tally import CallCounts, Tally
from distq.core.states import DEAD, SUCCEEDED
from distq.tasks.failure import pack_failure


@pytest.fixture(name="place")
def fake_place(monkeypatch: pytest.MonkeyPatch) -> FakePlace:
    """Return the place on which every bar of the test is drawn."""
    place = FakePlace()
    for module in ("mapping", "waiting"):
        monkeypatch.setattr(f"distq.client.progress.{module}.place_here", lambda: place)
    monkeypatch.setattr("distq.client.aio.progress.place_here", lambda: place)
    return place


def failing(call: Any) -> tuple[int, bytes | None, list[str] | None]:
    """Fail for odd numbers."""
    (number,) = call[0]
    if number % 2:
        return DEAD, pack_failure(ValueError(f"no {number}")), [f"ValueError: no {number}"]
    return doubled(call)


def test_progress_waits_for_all_futures_and_counts_those_that_failed(place: FakePlace) -> None:
    """It returns the futures in their order, and raises nothing that a task has raised."""
    with serving(MasterState(failing)) as master, client_of(master) as client:
        futures = [client.submit(double, number) for number in range(6)]
        assert distq.progress(iter(futures)) == futures
        assert all(future.done() for future in futures)
        with pytest.raises(ValueError, match="no 3"):
            futures[3].result()
    assert place.ended == [("double", CallCounts(6, 3, 0, 6), [])]


def test_progress_takes_futures_of_other_executors_and_none(place: FakePlace) -> None:
    """A label may be given; futures of several functions have none in common."""
    with ThreadPoolExecutor(1) as pool:
        futures: list[Future[Any]] = [pool.submit(pow, 2, 3), pool.submit(divmod, 1, 0)]
        assert [future.done() for future in distq.progress(futures, label="work")] == [True, True]
    none: list[Future[int]] = []
    assert distq.progress(none) == []
    assert [ended[:2] for ended in place.ended] == [("work", CallCounts(2, 1, 0, 2)), ("tasks", CallCounts(0, 0, 0, 0))]


def test_progress_ends_at_its_timeout(place: FakePlace) -> None:
    """The error says how many futures are left; the tasks go on."""
    with serving(MasterState(never)) as master, client_of(master) as client:
        futures = [client.submit(double, number) for number in range(3)]
        with pytest.raises(TimeoutError, match="3 futures of 3 without an outcome at the timeout"):
            distq.progress(futures, timeout=0.05)
        client.abandon()
    assert place.ended == [("double", CallCounts(0, 0, 0, 3), [])]


def test_progress_refuses_what_is_no_future(place: FakePlace) -> None:
    """The futures of an AsyncClient have a method of their own."""

    async def program() -> None:
        async with distq.AsyncClient(f"127.0.0.1:{master.address[1]}", KEY) as client:
            future = await client.submit(double, 1)
            with pytest.raises(TypeError, match=r"use `await client.progress\(futures\)`"):
                distq.progress([future])  # type: ignore[type-var] # what the test is about
            with pytest.raises(TypeError, match=r"distq\.progress takes others"):
                await client.progress([Future()])  # type: ignore[arg-type] # as above

    with serving(MasterState()) as master:
        asyncio.run(program())
    with pytest.raises(TypeError, match="takes futures of executors, not 7"):
        distq.progress([7])  # type: ignore[type-var] # as above
    assert place.ended == []


def test_the_reports_of_running_tasks_are_in_the_bar(place: FakePlace, monkeypatch: pytest.MonkeyPatch) -> None:
    """The client asks the master once a second, about the oldest tasks."""
    monkeypatch.setattr(waiting, "REPORTS_S", 0.01)
    state = MasterState(never)
    state.progress = (0.25, "page 12")
    with serving(state) as master, client_of(master) as client:
        futures = [client.submit(double, number) for number in range(2)]
        waiter = threading.Thread(target=distq.progress, args=(futures,))
        waiter.start()
        expected = CallCounts(0, 0, 0, 2, 0.5, "page 12")
        eventually(lambda: [expected] in place.drawn, "the reports", lambda: place.drawn[-1:])
        assert client.flush(SOON_S)
        for future in futures:
            assert future.task_key is not None
            state.end(future.task_key, SUCCEEDED, b"\x80\x04K\x01.")
        waiter.join(SOON_S)
    assert not waiter.is_alive()


# -- map -------------------------------------------------------------------------------------------


def test_a_map_with_a_bar_gives_the_same_results(place: FakePlace) -> None:
    """The bar counts calls, also in chunks of which the last one is shorter."""
    with serving(MasterState()) as master, client_of(master) as client:
        assert list(client.map(double, range(7), progress=True)) == [2 * number for number in range(7)]
        assert list(client.map(double, iter(range(7)), chunksize=3, progress="doubling")) == [
            2 * number for number in range(7)
        ]
        assert list(client.options(priority=9).map(double, [], progress=True)) == []
    seven = CallCounts(7, 0, 0, 7)
    assert [ended[:2] for ended in place.ended] == [
        ("double", seven),
        ("doubling", seven),
        ("double", CallCounts(0, 0, 0, 0)),
    ]


def test_a_bar_of_an_endless_map_counts_without_a_total(place: FakePlace) -> None:
    """The arguments are taken as the program takes results."""
    taken = []

    def numbers() -> Iterator[int]:
        for number in range(1_000_000):
            taken.append(number)
            yield number

    with serving(MasterState()) as master, client_of(master) as client:
        results = client.map(double, numbers(), buffersize=5, progress=True)
        assert [next(results) for _ in range(10)] == [2 * number for number in range(10)]
        eventually(lambda: any(bars[0].ended >= 10 for bars in place.drawn), "the count")
        assert place.drawn[-1][0].total is None
        assert len(taken) <= 16
        results.close()  # type: ignore[attr-defined] # as of a generator
    assert place.ended[0][1].total is None


def test_the_total_is_the_length_of_the_shortest_iterable() -> None:
    """Iterables without a length are left out."""
    assert mapping.length_of([range(5), [1, 2, 3], iter(())]) == 3
    assert mapping.length_of([iter(())]) is None


def test_a_map_that_fails_closes_its_bar_and_cancels_the_rest(place: FakePlace) -> None:
    """The last state shows the failure; the master has not ended the cancelled tasks yet."""

    def outcome(call: Any) -> Any:
        return failing(call) if call[0][0] < 2 else None

    with (
        serving(MasterState(outcome)) as master,
        client_of(master) as client,
        pytest.raises(ValueError, match="no 1"),
    ):
        list(client.map(double, range(5), progress=True))
    assert place.ended == [("double", CallCounts(2, 1, 0, 5), [])]


def test_a_map_whose_arguments_raise_closes_its_bar(place: FakePlace) -> None:
    """The error comes at the call, as without a bar."""

    def numbers() -> Iterator[int]:
        yield 1
        raise LookupError

    with serving(MasterState()) as master, client_of(master) as client, pytest.raises(LookupError):
        client.map(double, numbers(), progress=True)
    assert len(place.ended) == 1


def test_a_map_that_the_program_drops_closes_its_bar(place: FakePlace) -> None:
    """No result was asked for: the tasks run, and the bar does not wait for them."""
    with serving(MasterState(never)) as master, client_of(master) as client:
        results = client.map(double, range(5), progress=True)
        del results
        gc.collect()
        assert [ended[1].ended for ended in place.ended] == [0]
        client.abandon()


def test_a_result_that_was_yielded_can_be_freed(place: FakePlace) -> None:
    """The bar keeps a future only until it has counted its end."""

    def plain(_call: Any) -> tuple[int, bytes, None]:
        return SUCCEEDED, pickle_of_plain, None

    import pickle  # noqa: PLC0415 - the module of the outcome above

    pickle_of_plain = pickle.dumps(Plain())
    with serving(MasterState(plain)) as master, client_of(master) as client:
        results = client.map(double, range(3), progress=True)
        first = weakref.ref(next(results))
        eventually(lambda: first() is None, "the end of the result")
        assert len(list(results)) == 2
    assert place.ended[0][1] == CallCounts(3, 0, 0, 3)


def test_the_results_of_a_map_say_how_far_they_are() -> None:
    """A notebook shows the same; a function's name is escaped."""
    state = MasterState()
    with serving(state) as master, client_of(master) as client:
        results = client.map(double, range(3))
        next(results)
        assert client.flush(SOON_S)
        eventually(lambda: "2 of them ended" in repr(results), "the ends")
        name = "tests.client.functions:double"
        text = "1 result yielded, 2 tasks left, 2 of them ended"
        assert repr(results) == f"<MapResults {name}: {text}>"
        assert results._repr_html_() == f"<code>MapResults</code> <b>{name}</b> {text}"  # type: ignore[attr-defined] # for notebooks
        assert list(results) == [2, 4]
        assert "<b>a&lt;b&gt;</b>" in client.map(named, [])._repr_html_()  # type: ignore[attr-defined] # as above


@distq.task(name="a<b>")
def named(number: int) -> int:
    """Have a name that is HTML."""
    return number


# -- asyncio ---------------------------------------------------------------------------------------


def test_an_asyncio_client_draws_bars_too(place: FakePlace) -> None:
    """Both of its calls: `map` and `progress`."""

    async def program() -> None:
        async with distq.AsyncClient(f"127.0.0.1:{master.address[1]}", KEY) as client:
            assert [one async for one in client.map(double, range(4), progress=True)] == [0, 2, 4, 6]
            assert [one async for one in client.map(double, iter(range(4)), chunksize=3, progress="x")] == [0, 2, 4, 6]
            futures = [await client.submit(double, number) for number in range(5)]
            assert await client.progress(futures) == futures
            assert [future.result() for future in futures] == [0, 2, 4, 6, 8]
            assert await client.progress([], label="none") == []

    with serving(MasterState()) as master:
        asyncio.run(program())
    four = CallCounts(4, 0, 0, 4)
    assert [ended[:2] for ended in place.ended] == [
        ("double", four),
        ("x", four),
        ("double", CallCounts(5, 0, 0, 5)),
        ("none", CallCounts(0, 0, 0, 0)),
    ]


def test_an_asyncio_wait_ends_at_its_timeout_and_shows_reports(
    place: FakePlace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cancelled coroutine closes its bar as well."""
    monkeypatch.setattr("distq.client.aio.progress.REPORTS_S", 0.01)
    state = MasterState(never)
    state.progress = (0.25, "page 12")

    async def program() -> None:
        async with distq.AsyncClient(f"127.0.0.1:{master.address[1]}", KEY) as client:
            futures = [await client.submit(double, number) for number in range(2)]
            with pytest.raises(TimeoutError, match="2 futures of 2 without an outcome at the timeout"):
                await client.progress(futures, timeout=0.05)
            place.drawn.clear()
            waiter = asyncio.create_task(client.progress(futures))
            async with asyncio.timeout(SOON_S):
                while [CallCounts(0, 0, 0, 2, 0.5, "page 12")] not in place.drawn:  # noqa: ASYNC110 - a thread draws
                    await asyncio.sleep(0.005)
            waiter.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiter
            client.abandon()

    with serving(state) as master:
        asyncio.run(program())
    assert len(place.ended) == 2


def test_a_tally_shows_the_text_of_the_oldest_task() -> None:
    """Reports without a text only move the bar."""
    tally = Tally(3)
    tally.reports = [distq.Progress(0.5, ""), distq.Progress(0.25, "second"), distq.Progress(0.25, "third")]
    assert tally.count() == CallCounts(0, 0, 0, 3, 1.0, "second")
