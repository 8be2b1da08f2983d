"""Tests of what `distq.AsyncClient` shares with the coroutines, the event loops and the threads of a program."""

import asyncio
import concurrent.futures
import pickle
import sys
import threading
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from typing import Any

import anyio
import anyio.to_thread
import pytest
from tests.client.functions import Lonely, Plain, anything, double
from tests.client.masters import MasterState, never, serving
from tests.client.test_async_client import Run, client_of, run, until
from tests.client.test_executor import EPOCH, no_collection
from tests.client.test_executor_futures import FAILED
from tests.net.fake_master import FakeMaster
from tests.waiting import SOON_S

import distq
from distq.core.states import DEAD, SUCCEEDED
from distq.tasks.codec import PROTOCOL
from distq.tasks.failure import pack_failure

__all__ = ["run"]  # a fixture


# -- task groups, timeouts, eager tasks ------------------------------------------------------------


def test_a_task_group_cancels_waits_and_not_tasks(run: Run) -> None:
    """One coroutine fails; the others, which await their futures, are cancelled, and their tasks run on."""
    state = MasterState(never)

    async def program(master: FakeMaster) -> None:
        async with client_of(master) as client:
            futures = [await client.submit(double, n) for n in range(3)]
            for future in futures:
                await future.accepted()
            with pytest.raises(ExceptionGroup) as caught:
                await all_of(futures, lambda: state.end(EPOCH | 2, *FAILED))
            assert caught.group_contains(ZeroDivisionError)
            assert [future.done() for future in futures] == [False, True, False]
            assert not state.cancels
            state.end(EPOCH | 1, SUCCEEDED, pickle.dumps(11))
            async with asyncio.timeout(SOON_S):
                assert await futures[0] == 11
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.05):
                    await futures[2]
            assert not state.cancels
            client.abandon()

    with serving(state) as master:
        run(program(master))


async def awaited(future: Awaitable[Any]) -> Any:
    """Await the future."""
    return await future


async def all_of(futures: list[distq.AsyncFuture[int]], then: Callable[[], None]) -> None:
    """Await the futures in a task group; `then` is called when all are awaited."""
    async with asyncio.TaskGroup() as group:
        for future in futures:
            group.create_task(awaited(future))
        await until(lambda: all(future.has_callbacks for future in futures), "the waits")
        then()


def test_coroutines_that_begin_at_once_use_a_client(run: Run) -> None:
    """With the eager task factory (Python 3.12) a task runs up to its first wait while it is made."""

    async def program(master: FakeMaster) -> None:
        eager: Any = getattr(asyncio, "eager_task_factory", None)

        def factory(*args: Any, **options: Any) -> Any:
            if sys.version_info < (3, 14):
                options.pop("eager_start", None)  # uvloop 0.23 passes it to the factory of Python 3.12 too
            return eager(*args, **options)

        asyncio.get_running_loop().set_task_factory(eager and factory)
        async with client_of(master) as client:

            async def one(n: int) -> int:
                return await (await client.submit(double, n))

            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(one(n)) for n in range(50)]
            assert [task.result() for task in tasks] == [2 * n for n in range(50)]
            assert [n async for n in client.map(double, range(20), concurrency=3)] == [2 * n for n in range(20)]

    with serving(MasterState()) as master:
        run(program(master))


# -- map and as_completed --------------------------------------------------------------------------


@pytest.mark.parametrize("sizes", [{}, {"chunksize": 2}, {"concurrency": 1}])
def test_map_keeps_neither_arguments_nor_yielded_results(run: Run, sizes: dict[str, Any]) -> None:
    """The garbage collector is not needed: each object is freed with its last reference."""
    given: list[weakref.ref[Any]] = []

    async def arguments() -> AsyncIterator[Plain]:
        for _ in range(6):
            one = Plain()
            given.append(weakref.ref(one))
            yield one
            del one

    def made(call: Any) -> Any:
        value = [Plain() for _ in call[0]] if len(call) == 1 else Plain()
        return SUCCEEDED, pickle.dumps(value, PROTOCOL), None

    async def program(master: FakeMaster) -> None:
        async with client_of(master) as client:
            results = client.map(anything, arguments(), **sizes)
            for _ in range(6):
                result: Any = await anext(results)
                kept = weakref.ref(result)
                del result
                assert kept() is None
            assert [one async for one in results] == []
            assert [one for one in given if one() is not None] == []

    with serving(MasterState(made)) as master, no_collection():
        run(program(master))


def test_an_exception_of_a_task_is_freed_with_its_last_reference(run: Run) -> None:
    """Neither the future, nor the iterator of `map`, nor a coroutine that awaited it is in a cycle with it."""
    state = MasterState(lambda _: (DEAD, pack_failure(Lonely()), ["it failed"]))

    async def raised_by(waiting: Callable[[], Awaitable[Any]]) -> weakref.ref[Any]:
        try:
            await waiting()  # a name for what is awaited would be kept by the frame in the traceback
        except Lonely as error:
            return weakref.ref(error)
        raise AssertionError

    async def program(master: FakeMaster) -> None:
        async with client_of(master) as client:
            futures = [await client.submit(double, 1)]
            seen = weakref.ref(futures[0])
            assert (await raised_by(futures.pop))() is None
            assert seen() is None
            results = client.map(double, range(3))
            assert (await raised_by(lambda: anext(results)))() is None

    with serving(state) as master, no_collection():
        run(program(master))


@pytest.mark.parametrize("make", [lambda: 1, concurrent.futures.Future, lambda: "1-1"])
def test_as_completed_takes_only_futures_of_asyncio_clients(make: Callable[[], Any]) -> None:
    """The error comes from the call, and says how one gets them."""
    client = distq.AsyncClient("127.0.0.1:1", "a key of no master")
    with pytest.raises(TypeError, match=r"as_completed takes futures of an AsyncClient, as `await client.submit"):
        client.as_completed([make()])


def test_as_completed_says_what_to_do_with_a_submit_that_is_not_awaited() -> None:
    """A coroutine is no future yet."""
    client = distq.AsyncClient("127.0.0.1:1", "a key of no master")
    submitting = client.submit(double, 1)
    with pytest.raises(TypeError, match=r"`await client.submit\(...\)` returns them, not <coroutine"):
        client.as_completed([submitting])  # type: ignore[arg-type]
    submitting.close()


# -- anyio -----------------------------------------------------------------------------------------


def test_an_asyncio_client_works_in_task_groups_and_cancel_scopes_of_anyio() -> None:
    """On its backend for asyncio; a scope that ends a `map` cancels the tasks that are left."""
    state = MasterState(lambda call: None if call[0][0] < 0 else (SUCCEEDED, pickle.dumps(2 * call[0][0]), None))

    async def program(master: FakeMaster) -> None:
        found: list[int] = []
        async with client_of(master) as client:

            async def one(n: int) -> None:
                found.append(await (await client.submit(double, n)))

            async with anyio.create_task_group() as group:
                for n in range(10):
                    group.start_soon(one, n)
            assert sorted(found) == [2 * n for n in range(10)]
            future = await client.submit(double, -1)
            await future.accepted()
            with anyio.move_on_after(0.05) as scope:
                await future
            assert (scope.cancelled_caught, future.done(), state.cancels) == (True, False, [])
            with anyio.move_on_after(0.3) as scope:
                async with aclosing(client.map(double, [-2, -3])) as results:
                    await anext(results)
            assert scope.cancelled_caught
            await until(lambda: state.cancels, "the cancel")
            assert state.cancels == [([EPOCH | 12, EPOCH | 13], False)]
            assert await anyio.to_thread.run_sync(future.done) is False
            client.abandon()

    with serving(state) as master:
        anyio.run(program, master)


def test_a_client_without_an_event_loop_of_asyncio_says_so() -> None:
    """Another library, such as trio, drives the coroutine here."""
    client = distq.AsyncClient("127.0.0.1:1", "a key of no master")
    with pytest.raises(distq.WrongLoop, match="in an event loop of asyncio, and none runs here"):
        client.submit(double, 1).send(None)


# -- threads and the end of a loop -----------------------------------------------------------------


def test_another_thread_uses_a_client_by_its_loop(run: Run) -> None:
    """`run_coroutine_threadsafe` submits; a direct call in a thread with a loop of its own is WrongLoop."""

    async def program(master: FakeMaster) -> None:
        loop = asyncio.get_running_loop()
        async with client_of(master) as client:
            assert await (await client.submit(double, 1)) == 2

            async def one(n: int) -> int:
                return await (await client.submit(double, n))

            def elsewhere() -> int:
                with pytest.raises(distq.WrongLoop, match="in another event loop"):
                    asyncio.run(one(2))
                with pytest.raises(distq.WrongLoop, match="runs in another thread"):
                    client.abandon()
                return asyncio.run_coroutine_threadsafe(one(3), loop).result(SOON_S)

            assert await asyncio.to_thread(elsewhere) == 6
            assert await (await client.submit(double, 4)) == 8

    with serving(MasterState()) as master:
        run(program(master))


def test_two_loops_in_two_threads_have_a_client_each(run: Run) -> None:
    """They share nothing."""
    results: list[list[int]] = []

    async def program(master: FakeMaster) -> None:
        async with client_of(master) as client:
            results.append([n async for n in client.map(double, range(200), concurrency=20)])

    with serving(MasterState()) as one, serving(MasterState()) as other:
        threads = [threading.Thread(target=lambda master=master: run(program(master))) for master in (one, other)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(SOON_S)
    assert results == [[2 * n for n in range(200)]] * 2


def test_a_client_is_abandoned_after_its_loop_has_ended(run: Run) -> None:
    """Nothing is left to close, and nothing raises."""
    kept: list[distq.AsyncClient] = []

    async def program(master: FakeMaster) -> None:
        kept.append(client_of(master))
        assert await (await kept[0].submit(double, 1)) == 2

    with serving(MasterState()) as master:
        run(program(master))
        kept[0].abandon()
        kept[0].abandon()


def test_a_client_that_its_program_forgets_ends_with_the_event_loop(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    """A warning says that tasks are lost which the master had not accepted; without such tasks nothing is logged."""
    state = MasterState(never)
    futures: list[distq.AsyncFuture[int]] = []
    clients: list[distq.AsyncClient] = []

    async def program(master: FakeMaster) -> None:
        client = client_of(master)
        clients.append(client)
        futures.append(await client.submit(double, len(futures)))
        if state.gate.is_set():
            await futures[-1].accepted()

    with serving(state) as master:
        run(program(master))
        assert caplog.text == ""
        state.gate.clear()
        run(program(master))
        assert "no master has accepted its last tasks" in caplog.text
        for future in futures:
            with pytest.raises(distq.CannotReach, match="the client was closed"):
                future.result()
