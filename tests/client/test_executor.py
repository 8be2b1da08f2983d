"""Tests that a client is an executor: what the standard library's executors do with a call, a client does too."""

import gc
import itertools
import math
import pickle
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from tests.client.functions import Lonely, Plain, anything, double
from tests.client.masters import MasterState, client_of, doubled, never, serving
from tests.waiting import SOON_S

import distq
from distq.core.states import DEAD, SUCCEEDED
from distq.tasks.codec import PROTOCOL
from distq.tasks.failure import pack_failure

EPOCH = 1 << 40
RETRIES = 3
"""The index of `retries` in an envelope."""


@distq.task
def decorated(n: int) -> int:
    """Return twice the number."""
    return 2 * n


@contextmanager
def no_collection() -> Iterator[None]:
    """Switch the garbage collector off: only objects that are in no cycle are freed."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


@pytest.mark.parametrize(
    ("function", "options", "retries"),
    [
        (double, {}, 0),
        (math.sqrt, {}, 0),
        (double, {"retries": 2}, 2),
        (decorated, {}, None),
        (decorated, {"retries": 0}, 0),
    ],
)
def test_a_function_without_the_decorator_is_retried_only_if_its_submit_says_so(
    function: object, options: dict[str, int], retries: int | None
) -> None:
    """None leaves the number to the master (DISTQ_RETRIES). Every way to submit sends the same."""
    state = MasterState()
    with serving(state) as master, client_of(master) as client:
        submitter = client.options(**options)  # type: ignore[arg-type] # a parameter of this test
        submitter.submit(function, 1).result(SOON_S)  # type: ignore[call-overload] # as above
        list(submitter.map(function, [1, 2], chunksize=2))  # type: ignore[call-overload] # as above
        submitter.chain(distq.call(function, 1)).result(SOON_S)  # type: ignore[call-overload] # as above
        assert [envelope[RETRIES] for _, (envelope,), *_ in state.submits] == [retries] * 3


def test_a_task_that_is_submitted_by_its_name_is_retried_as_the_master_says() -> None:
    """The client does not import the function, and so cannot know whether it is decorated."""
    state = MasterState()
    with serving(state) as master, client_of(master) as client:
        client.submit_named("tests.client.functions:double", [1])
        client.flush(SOON_S)
        assert state.submits[0][1][0][RETRIES] is None
        client.abandon()


# -- map -------------------------------------------------------------------------------------------


def test_map_with_a_buffersize_takes_arguments_as_the_program_takes_results() -> None:
    """The iterables may be endless, and one more call is submitted before each result is yielded."""
    taken = itertools.count()
    state = MasterState()
    with serving(state) as master, client_of(master) as client:
        results = client.map(anything, taken, itertools.repeat(None), buffersize=3)
        assert client.flush(SOON_S)
        assert len(state.bodies) == next(taken) == 3  # this call has taken the 3
        assert [next(results) for _ in range(4)] == [0, 2, 4, 8]
        assert client.flush(SOON_S)
        assert len(state.bodies) == 3 + 4


def test_map_with_a_buffersize_never_has_more_tasks_without_a_yielded_result() -> None:
    """While `next` waits for the first result, no task beyond the buffer is submitted."""
    state = MasterState(never)
    with serving(state) as master, client_of(master) as client:
        results = client.map(double, itertools.count(), buffersize=2, timeout=0.2)
        with pytest.raises(TimeoutError):
            next(results)
        assert client.flush(SOON_S)
        assert len(state.bodies) == 2


def test_map_with_a_buffersize_counts_chunks() -> None:
    """A chunk is one task."""
    taken = itertools.count()
    state = MasterState()
    with serving(state) as master, client_of(master) as client:
        results = client.map(double, taken, chunksize=10, buffersize=2)
        assert next(taken) == 20
        assert [next(results) for _ in range(12)] == [*range(0, 24, 2)]
        assert next(taken) == 20 + 1 + 2 * 10  # the chunk in which the second `next(taken)` is missing, and one more


@pytest.mark.parametrize("sizes", [{}, {"buffersize": 1}, {"buffersize": 100}, {"chunksize": 3}, {"chunksize": 100}])
def test_map_is_the_builtin_map_of_the_results(sizes: dict[str, Any]) -> None:
    """The shortest iterable ends it; without iterables, or with an empty one, it yields nothing."""
    with serving(MasterState()) as master, client_of(master) as client:
        assert list(client.map(double, range(7), **sizes)) == [*range(0, 14, 2)]
        assert list(client.map(anything, range(7), [5, 5], **sizes)) == [0, 2]
        assert list(client.map(double, [], **sizes)) == []
        assert list(client.map(double, **sizes)) == []


@pytest.mark.parametrize("name", ["chunksize", "buffersize"])
@pytest.mark.parametrize(
    ("size", "error", "text"),
    [
        (0, ValueError, "is at least 1, not 0"),
        (-1, ValueError, "is at least 1, not -1"),
        (2.0, TypeError, "is a whole number, not 2.0"),
        ("foo", TypeError, "is a whole number, not 'foo'"),
    ],
)
def test_a_wrong_size_of_map_is_refused_before_an_argument_is_taken(
    name: str, size: object, error: type[Exception], text: str
) -> None:
    """The error has the value."""
    taken = itertools.count()
    client = distq.Client("127.0.0.1:1", "a key of no master")
    with pytest.raises(error, match=f"{name} {text}"):
        client.map(double, taken, **{name: size})  # type: ignore[call-overload] # a wrong type is the point
    assert next(taken) == 0


@pytest.mark.parametrize("sizes", [{}, {"buffersize": 3}])
def test_map_yields_the_results_before_an_exception_and_cancels_the_calls_after_it(sizes: dict[str, Any]) -> None:
    """The exception of the third call is raised in its place; only tasks that have not ended are cancelled."""
    error = DEAD, pack_failure(ZeroDivisionError("of the task")), ["it failed"]
    state = MasterState(lambda call: error if call[0][0] == 2 else doubled(call) if call[0][0] < 2 else None)
    with serving(state) as master, client_of(master) as client:
        results = client.map(double, range(5), **sizes)
        assert [next(results), next(results)] == [0, 2]
        assert client.flush(SOON_S)  # a task that is not sent yet is cancelled without the master
        with pytest.raises(ZeroDivisionError, match="of the task"):
            next(results)
        assert list(results) == []
        assert [cancelled for cancelled, _ in state.cancels] == [[EPOCH | 4, EPOCH | 5]]


def test_a_map_that_is_left_early_cancels_the_rest() -> None:
    """Closing the iterator is enough; a task that has ended is not cancelled."""
    state = MasterState(lambda call: doubled(call) if call[0][0] == 0 else None)
    with serving(state) as master, client_of(master) as client:
        results = client.map(double, range(4))
        assert next(results) == 0
        assert client.flush(SOON_S)
        results.close()  # type: ignore[attr-defined] # it is a generator
        assert [cancelled for cancelled, _ in state.cancels] == [[EPOCH | 2, EPOCH | 3, EPOCH | 4]]


@pytest.mark.parametrize("sizes", [{}, {"chunksize": 2}, {"buffersize": 3}])
def test_a_map_that_times_out_cancels_the_call_that_it_waited_for_and_the_rest(sizes: dict[str, Any]) -> None:
    """The timeout begins with `map`, and the iterator ends with it."""
    state = MasterState(never)
    with serving(state) as master, client_of(master) as client:
        results = client.map(double, range(3), timeout=0.05, **sizes)
        assert client.flush(SOON_S)
        with pytest.raises(TimeoutError):
            next(results)
        assert list(results) == []
        tasks = 2 if "chunksize" in sizes else 3
        assert state.cancels == [([EPOCH | key for key in range(1, tasks + 1)], False)]


def test_map_keeps_no_exception_that_it_has_raised() -> None:
    """The traceback has the frame of the iterator, in which no name refers to the future."""
    state = MasterState(lambda _: (DEAD, pack_failure(Lonely()), ["it failed"]))
    with serving(state) as master, client_of(master) as client, no_collection():
        results = client.map(double, range(3))
        kept: weakref.ref[Any] | None = None
        try:
            next(results)
        except Lonely as error:
            kept = weakref.ref(error)
        assert kept is not None
        assert kept() is None


@pytest.mark.parametrize("sizes", [{}, {"chunksize": 2}, {"buffersize": 1}, {"buffersize": 2, "chunksize": 2}])
def test_map_keeps_neither_arguments_nor_yielded_results(sizes: dict[str, Any]) -> None:
    """The garbage collector is not needed: each object is freed with its last reference."""
    state = MasterState(lambda call: (SUCCEEDED, pickle.dumps(made(call), PROTOCOL), None))
    given: list[weakref.ref[Any]] = []

    def arguments() -> Iterator[Plain]:
        for _ in range(6):
            one = Plain()
            given.append(weakref.ref(one))
            yield one
            del one

    with serving(state) as master, client_of(master) as client, no_collection():
        results = client.map(anything, arguments(), **sizes)
        for _ in range(6):
            result = next(results)
            kept = weakref.ref(result)
            del result
            assert kept() is None
        assert list(results) == []
        assert [one for one in given if one() is not None] == []


def made(call: Any) -> Any:
    """Return an object for each call."""
    return [Plain() for _ in call[0]] if len(call) == 1 else Plain()


@pytest.mark.parametrize("chunksize", [1, 3])
def test_a_map_with_a_buffersize_keeps_no_argument_of_a_task_that_runs(chunksize: int) -> None:
    """It holds an argument only until its task is submitted; the builtin `zip` keeps one of them."""
    given: list[weakref.ref[Any]] = []

    def noted() -> Plain:
        one = Plain()
        given.append(weakref.ref(one))
        return one

    with serving(MasterState(never)) as master, client_of(master) as client, no_collection():
        results = client.map(anything, iter(noted, None), chunksize=chunksize, buffersize=2)
        assert client.flush(SOON_S)
        assert len(given) == 2 * chunksize
        assert sum(one() is not None for one in given) <= 1
        del results
