"""A program that uses distq, which mypy and pyright check for `test_api.py`; it is never run.

Both also report an ignored error that does not occur, so each of them is asserted.
"""

import asyncio
from collections.abc import AsyncIterator, Generator, Iterator
from concurrent.futures import Executor, Future, as_completed, wait
from datetime import UTC, datetime, timedelta
from typing import Any, assert_type

import distq
from distq import testing


def add(a: int, b: int = 0) -> str:
    """Be a function without a decorator."""
    return str(a + b)


async def later(n: int) -> int:
    """Be a coroutine function, which the worker awaits."""
    return n


def counted(n: int) -> Generator[int, None, str]:
    """Be a generator function, whose values the worker streams."""
    yield from range(n)
    return "counted"


@distq.task
def without_options(a: int) -> float:
    """Be a task without options."""
    return a / 2


@distq.task(queue="mail", retries=5, time_limit=60)
def with_options(to: str, *, copies: int = 1) -> list[str]:
    """Be a task with options."""
    return [to] * copies


@distq.task(name="eventually", retry_for=OSError)
async def eventually(n: int) -> bytes:
    """Be a coroutine function with options."""
    return bytes(n)


@distq.lifespan
def numbers() -> Iterator[list[int]]:
    """Be a hook."""
    yield [1]


@distq.lifespan
def texts() -> Generator[str, None, None]:
    """Be a hook with the other type that such a function may have."""
    yield "a"


@distq.task
def with_hook(n: int, shared: list[int] = distq.injected(numbers), text: str = distq.injected(texts)) -> int:
    """Be a task that gets what hooks have yielded."""
    return shared[n] + len(text)


@distq.task
def inside(n: int) -> int:
    """Use what a task can use."""
    run = distq.current()
    assert_type(run, distq.Current)
    assert_type(run.id, str)
    assert_type(run.attempt, int)
    assert_type(run.deadline, float | None)
    run.progress(0.5, "half")
    run.checkpoint({"at": n})
    if n == 1:
        raise distq.Retry(after="10s", why="again")
    if n == 2:
        raise distq.Snooze(timedelta(minutes=1))
    if n == 3:
        raise distq.Discard("no need")
    run.progress("half")  # type: ignore[arg-type]
    return n


def submits(client: distq.Client) -> None:
    """Submit with right and with wrong arguments."""
    assert_type(client.submit(add, 1, b=2), distq.TaskFuture[str])
    assert_type(client.submit(add, 1).result(timeout=5), str)
    assert_type(client.submit(without_options, 1).result(), float)
    assert_type(client.submit(with_options, "joe", copies=2).result(), list[str])
    assert_type(client.submit(later, 1).result(), int)
    assert_type(client.submit(counted, 1).result(), str)
    assert_type(client.submit(eventually, 1).result(), bytes)
    assert_type(client.submit(with_hook, 1).result(), int)
    assert_type(client.submit(print, "a", end="").result(), None)
    assert_type(with_options("joe"), list[str])
    assert_type(without_options(1), float)
    assert_type(client.submit_named("shop:pay", [1], {"b": 2}, queue="mail"), distq.TaskFuture[Any])
    client.submit(add, 1, "x")  # type: ignore[call-overload]
    client.submit(add)  # type: ignore[call-overload]
    client.submit(without_options, "1")  # type: ignore[call-overload]
    client.submit(with_options, "joe", copies="2")  # type: ignore[arg-type]
    client.submit(with_options, "joe", 2)  # type: ignore[call-overload]
    client.submit(with_options, "joe", colour="red")  # type: ignore[arg-type,call-arg]
    client.submit(later, "1")  # type: ignore[call-overload]
    client.submit("add", 1)  # type: ignore[call-overload]
    client.submit_named(add, [1])  # type: ignore[arg-type]
    with_options(5)  # type: ignore[arg-type]
    distq.task(retries="5")(add)  # type: ignore[call-overload]
    text: int = client.submit(add, 1).result()  # type: ignore[assignment]
    del text


def options(client: distq.Client) -> None:
    """Submit with options."""
    other = client.options(queue="mail", priority=9, delay="30s", expires=timedelta(hours=1), headers={"a": "b"})
    assert_type(other, distq.Submitter)
    assert_type(other.submit(add, 1), distq.TaskFuture[str])
    assert_type(other.submit(later, 1), distq.TaskFuture[int])
    assert_type(list(other.map(add, [1])), list[str])
    assert_type(client.options(eta=datetime.now(UTC), full="raise").submit(add, 1), distq.TaskFuture[str])
    assert_type(client.options(every="1h").schedule("name", add, 1, b=2), distq.Scheduled)
    assert_type(client.options(cron="0 3 * * *").schedule_named("name", "shop:pay", [1]).next_at, float | None)
    other.submit(add, "1")  # type: ignore[call-overload]
    client.options(colour="red")  # type: ignore[call-arg]
    client.options(priority="high")  # type: ignore[arg-type]
    client.options(every=60).schedule("name", add)  # type: ignore[call-arg]


def maps_and_chains(client: distq.Client) -> None:
    """Submit many calls."""
    assert_type(list(client.map(without_options, range(3), chunksize=2, timeout=1.5)), list[float])
    assert_type(list(client.map(add, [1], [2], buffersize=10)), list[str])
    assert_type(list(client.map(later, [1])), list[int])
    assert_type(list(client.map(without_options, range(3), progress=True)), list[float])
    assert_type(distq.progress([client.submit(without_options, 1)]), list[distq.TaskFuture[float]])
    one, two = distq.call(add, 1), distq.call(later)
    assert_type(one, distq.Call[str])
    assert_type(two.options(queue="mail"), distq.Call[int])
    assert_type(client.chain(one), distq.TaskFuture[str])
    assert_type(client.chain([one, one], two), distq.TaskFuture[int])
    assert_type(client.chain(two, [one, one]), distq.TaskFuture[list[str]])
    assert_type(client.chain(two, (distq.call(add, n) for n in range(3))), distq.TaskFuture[list[str]])
    assert_type(client.chain(one, two, two, one, one, two), distq.TaskFuture[Any])
    assert_type(client.group([one, two], then=distq.call(without_options)).result(), float)
    assert_type(client.gather(one, one).result(), list[str])
    client.map(add, 5)  # type: ignore[call-overload]
    client.map(add, [1], concurrency=5)  # type: ignore[call-overload]
    client.chain(add)  # type: ignore[call-overload]
    client.gather(add)  # type: ignore[arg-type]
    distq.call(5)  # type: ignore[call-overload]


def futures(client: distq.Client) -> None:
    """Use a future, a client and both as the standard library's."""
    future = client.submit(add, 1)
    assert_type(future.task_id, str | None)
    assert_type((future.done(), future.running(), future.cancelled()), tuple[bool, bool, bool])
    assert_type((future.cancel(), future.abort()), tuple[bool, bool])
    assert_type(future.exception(timeout=timedelta(seconds=1)), BaseException | None)
    assert_type(future.progress(), distq.Progress | None)
    assert_type(next(future.stream(timeout=1)), Any)
    future.add_done_callback(lambda ended: print(ended.result().upper()))
    as_standard: Future[str] = future
    assert_type(as_standard.result(), str)
    assert_type([one.result() for one in as_completed([future])], list[str])
    assert_type(wait([future]).done, set[distq.TaskFuture[str]] | set[Future[str]])  # type: ignore[assert-type]
    assert_type(client.future("1-1"), distq.TaskFuture[Any])
    assert_type(client.result("1-1", timeout=5), Any)
    assert_type((client.flush(5), client.refused, client.slots()), tuple[bool, int, int])
    executor: Executor = client
    executor.shutdown(wait=False, cancel_futures=True)
    client.abandon()
    future.result("5")  # type: ignore[arg-type]
    with distq.Client("host:9000", b"key", wait_at_exit=False, by_value=True) as same:
        assert_type(same, distq.Client)
    distq.Client(9000)  # type: ignore[arg-type]


async def with_asyncio(client: distq.Client) -> None:
    """Use the threaded client from a coroutine."""
    assert_type(await asyncio.wrap_future(client.submit(without_options, 1)), float)
    assert_type(await asyncio.get_running_loop().run_in_executor(client, without_options, 1), float)


async def coroutine(client: distq.AsyncClient) -> None:
    """Do the same with the client of asyncio."""
    future = await client.submit(add, 1, b=2)
    assert_type(future, distq.AsyncFuture[str])
    assert_type(await future, str)
    assert_type(future.result(), str)
    assert_type(future.exception(), BaseException | None)
    assert_type(await future.accepted(), str)
    assert_type(await (await client.submit(later, 1)), int)
    assert_type(await (await client.submit_named("shop:pay", [1])), Any)
    other = client.options(queue="mail")
    assert_type(other, distq.AsyncSubmitter)
    assert_type(await (await other.submit(with_options, "joe", copies=2)), list[str])
    assert_type([one async for one in client.map(without_options, range(3), concurrency=2)], list[float])
    assert_type(await client.progress([await client.submit(without_options, 1)]), list[distq.AsyncFuture[float]])
    assert_type([one async for one in client.map(later, endless(), range(3))], list[int])
    assert_type([one.result() async for one in client.as_completed([future])], list[str])
    assert_type([one async for one in future.stream()], list[Any])
    assert_type([one async for one in future.follow_progress(every=1)], list[distq.Progress])
    assert_type(await asyncio.wait_for(future, 5), str)
    assert_type(await asyncio.gather(future, future), tuple[str, str])
    assert_type((await future.cancel(), await future.abort(), await future.running()), tuple[bool, bool, bool])
    one, two = distq.call(add, 1), distq.call(later)
    assert_type(await client.chain([one, one], two), distq.AsyncFuture[int])
    assert_type(await (await client.group([one, one], then=two)), int)
    assert_type(await (await client.gather(one, one)), list[str])
    assert_type(await client.options(every="1h").schedule("name", later, 1), distq.Scheduled)
    assert_type(await client.future("1-1"), distq.AsyncFuture[Any])
    assert_type((await client.flush(5), client.refused), tuple[bool, int])
    await client.submit(add, 1, "x")  # type: ignore[call-overload]
    await client.submit(add)  # type: ignore[call-overload]
    await client.submit(with_options, "joe", colour="red")  # type: ignore[arg-type,call-arg]
    client.as_completed([1])  # type: ignore[arg-type]
    async with distq.AsyncClient() as same:
        assert_type(same, distq.AsyncClient)
        await same.shutdown(cancel_futures=True)
    client.abandon()


async def endless() -> AsyncIterator[int]:
    """Be an asynchronous iterable."""
    while True:
        yield 1


def tests_of_a_program() -> None:
    """Run a cluster, as a test of such a program does."""
    with (
        testing.cluster(without_options) as cluster,
        testing.cluster(["shop.tasks", add], concurrency=1, settings={}) as other,
    ):
        assert_type(cluster, testing.Cluster)
        assert_type(other.client, distq.Client)
        cluster.advance(hours=3, wait=False)
        cluster.drain(timeout=5)
        with cluster.hold():
            assert_type(cluster.assert_submitted(add, 1, b=2), testing.SubmittedTask)
        assert_type(cluster.submitted(), tuple[testing.SubmittedTask, ...])
        assert_type(cluster.now, float)
    with testing.eager(settings={"DISTQ_RETRIES": "0"}) as eager:
        assert_type(eager, testing.Eager)
        assert_type(eager.client.submit(add, 1).result(), str)
        assert_type(eager.assert_submitted(add, 1, b=2), testing.SubmittedTask)
        eager.advance(days=1)
    eager.assert_submitted(add)  # type: ignore[call-arg]
    cluster.assert_submitted(add, 1, "x")  # type: ignore[arg-type]
    cluster.advance(weeks=3)  # type: ignore[call-arg]
    testing.cluster(5)  # type: ignore[arg-type]
