"""A program that uses distq, which mypy checks for `test_api.py`; it is never run.

mypy's strict mode also reports an ignored error that does not occur, so each of them is asserted.
"""

import asyncio
from concurrent.futures import as_completed
from typing import assert_type

import distq
from distq import testing


def add(a: int, b: int = 0) -> str:
    """Be a function without a decorator."""
    return str(a + b)


@distq.task
def without_options(a: int) -> float:
    """Be a task without options."""
    return a / 2


@distq.task(queue="mail", retries=5, time_limit=60)
def with_options(to: str, *, copies: int = 1) -> list[str]:
    """Be a task with options."""
    return [to] * copies


async def program(client: distq.Client) -> None:
    """Submit with right and with wrong arguments."""
    assert_type(client.submit(add, 1, b=2), distq.TaskFuture[str])
    assert_type(client.submit(add, 1).result(timeout=5), str)
    assert_type(client.submit(without_options, 1).result(), float)
    assert_type(client.submit(with_options, "joe", copies=2).result(), list[str])
    assert_type(with_options("joe"), list[str])
    assert_type(without_options(1), float)
    assert_type(await asyncio.wrap_future(client.submit(without_options, 1)), float)
    assert_type(list(client.map(without_options, range(3), chunksize=2)), list[float])
    assert_type(list(client.map(without_options, range(3), progress=True)), list[float])
    assert_type(distq.progress([client.submit(without_options, 1)]), list[distq.TaskFuture[float]])
    assert_type([future.result() for future in as_completed([client.submit(add, 1)])], list[str])
    client.submit(add, 1, "x")  # type: ignore[arg-type]
    client.submit(add)  # type: ignore[call-arg]
    client.submit(without_options, "1")  # type: ignore[arg-type]
    client.submit(with_options, "joe", copies="2")  # type: ignore[arg-type]
    client.submit(with_options, "joe", 2)  # type: ignore[call-arg]
    client.submit(with_options, "joe", colour="red")  # type: ignore[call-arg]
    with_options(5)  # type: ignore[arg-type]
    distq.task(retries="5")(add)  # type: ignore[call-overload]
    text: int = client.submit(add, 1).result()  # type: ignore[assignment]
    del text


async def coroutine(client: distq.AsyncClient) -> None:
    """Do the same from a coroutine."""
    future = await client.submit(add, 1, b=2)
    assert_type(future, distq.AsyncFuture[str])
    assert_type(await future, str)
    assert_type(future.result(), str)
    assert_type(await (await client.options(queue="mail").submit(with_options, "joe", copies=2)), list[str])
    assert_type([one async for one in client.map(without_options, range(3), concurrency=2)], list[float])
    assert_type(await client.progress([await client.submit(without_options, 1)]), list[distq.AsyncFuture[float]])
    assert_type([one.result() async for one in client.as_completed([future])], list[str])
    assert_type(await asyncio.wait_for(future, 5), str)
    assert_type(await future.cancel(), bool)
    await client.submit(add, 1, "x")  # type: ignore[arg-type]
    await client.submit(add)  # type: ignore[call-arg]
    await client.submit(with_options, "joe", colour="red")  # type: ignore[call-arg]


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
