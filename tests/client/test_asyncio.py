"""Tests that asyncio treats a task's future as any future of `concurrent.futures`, whichever method it reads."""

import asyncio
import concurrent.futures
import pickle
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from tests.client.functions import Brittle, anything
from tests.client.masters import MasterState, client_of, serving
from tests.waiting import SOON_S, eventually

import distq
from distq import Client
from distq.client.future import TaskFuture
from distq.core.states import CANCELLED, DEAD, EXPIRED, SUCCEEDED
from distq.core.task import BY_CLIENT
from distq.tasks.failure import pack_failure

Outcome = tuple[int, bytes | None, list[str] | None]
Way = Callable[[Client], Coroutine[Any, Any, Any]]

OUTCOMES: dict[str, tuple[Outcome, Any]] = {
    "a value": ((SUCCEEDED, pickle.dumps(3), None), 3),
    "a value in JSON": ((SUCCEEDED, b'{"a":[1]}', None), {"a": [1]}),
    "None": ((SUCCEEDED, pickle.dumps(None), None), None),
    "an exception as the value": ((SUCCEEDED, pickle.dumps([KeyError]), None), [KeyError]),
    "an exception": ((DEAD, pack_failure(ValueError("wrong")), ["it failed"]), ValueError),
    "a lost task": ((DEAD, b"", ["killed by SIGKILL"]), distq.TaskFailed),
    "an expired task": ((EXPIRED, None, None), distq.TaskExpired),
    "a task cancelled by an operator": ((CANCELLED, None, None), distq.TaskCancelled),
    "a task cancelled by this client": ((CANCELLED, None, [BY_CLIENT]), asyncio.CancelledError),
    "a result that cannot be read": ((SUCCEEDED, pickle.dumps(Brittle()), None), distq.ResultUnreadable),
}


async def wrapped(client: Client) -> Any:
    """Wrap the future while the task runs."""
    return await asyncio.wrap_future(client.submit(anything))


async def wrapped_once_done(client: Client) -> Any:
    """Wrap a future that is done."""
    future = client.submit(anything)
    await asyncio.to_thread(eventually, future.done, "the end")
    return await asyncio.wrap_future(future)


async def in_executor(client: Client) -> Any:
    """Let the loop submit to the client as to any executor."""
    return await asyncio.get_running_loop().run_in_executor(client, anything)


async def as_completed(client: Client) -> Any:
    """Take the first future that is done."""
    [first] = asyncio.as_completed([asyncio.wrap_future(client.submit(anything))])
    return await first


async def gathered(client: Client) -> Any:
    """Gather several futures."""
    futures = [client.submit(anything) for _ in range(3)]
    values = await asyncio.gather(*map(asyncio.wrap_future, futures))
    assert values[0] == values[1] == values[2]
    return values[0]


async def waited(client: Client) -> Any:
    """Wait for the set, then read the results."""
    done, _ = await asyncio.wait([asyncio.wrap_future(client.submit(anything))])
    return done.pop().result()


async def within_a_timeout(client: Client) -> Any:
    """Wait for at most some seconds."""
    return await asyncio.wait_for(asyncio.wrap_future(client.submit(anything)), SOON_S)


@pytest.mark.parametrize(
    "way", [wrapped, wrapped_once_done, in_executor, as_completed, gathered, waited, within_a_timeout]
)
@pytest.mark.parametrize("outcome", OUTCOMES)
def test_every_outcome_arrives_in_every_way_of_asyncio(outcome: str, way: Way) -> None:
    """A value arrives as itself and an error as its type; None never replaces an outcome."""
    end, expected = OUTCOMES[outcome]
    with serving(MasterState(lambda _: end)) as master, client_of(master) as client:
        if isinstance(expected, type):
            with pytest.raises(expected):
                asyncio.run(way(client))
        else:
            assert asyncio.run(way(client)) == expected


def test_a_coroutine_that_awaits_a_cancelled_task_is_not_cancelled_itself() -> None:
    """In a coroutine and in a task group an operator's cancel is an ordinary exception.

    Elsewhere it is a CancelledError.
    """

    async def program(client: Client) -> str:
        with pytest.raises(distq.TaskCancelled, match="by an operator"):
            await asyncio.wrap_future(client.submit(anything))
        current = asyncio.current_task()
        assert current is not None
        assert not current.cancelling()
        with pytest.raises(ExceptionGroup) as caught:
            async with asyncio.TaskGroup() as group:
                group.create_task(wrapped(client))
        assert caught.group_contains(distq.TaskCancelled)
        return "goes on"

    with serving(MasterState(lambda _: (CANCELLED, None, ["by an operator"]))) as master, client_of(master) as client:
        assert asyncio.run(program(client)) == "goes on"
        future = client.submit(anything)
        with pytest.raises(concurrent.futures.CancelledError, match="by an operator"):
            future.result(SOON_S)
        assert not future.cancelled()


@pytest.mark.parametrize("outcome", OUTCOMES)
def test_the_snapshot_of_newer_pythons_equals_the_methods(outcome: str) -> None:
    """The snapshot equals the methods before and after the end, also on a Python whose asyncio does not call it."""
    future = TaskFuture[Any]()
    assert future._get_snapshot() == (False, False, None, None)
    (state, body, causes), expected = OUTCOMES[outcome]
    future.settle(state, body, causes)
    done, cancelled, result, exception = future._get_snapshot()
    assert (done, cancelled) == (future.done(), future.cancelled())
    if cancelled:
        assert (result, exception) == (None, None)
    elif exception is not None:
        assert isinstance(exception, expected)
        assert future.exception(0) is exception
    else:
        assert result == future.result(0) == expected
