"""Tests of `distq.AsyncClient` with a real master and a real worker."""

import asyncio
import signal
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from pathlib import Path

import pytest
from tests.e2e import concurrent_tasks, tasks
from tests.e2e.cluster import KEY, Cluster
from tests.waiting import SOON_S

import distq
from distq import testing

TASKS = 3_000


def client_of(grid: Cluster) -> distq.AsyncClient:
    """Return a client of the cluster's master."""
    return distq.AsyncClient(f"127.0.0.1:{grid.port}", KEY)


def test_p2_masters_killed_under_load_lose_nothing_of_an_asyncio_client(grid: Cluster, tmp_path: Path) -> None:
    """The client connects again after each `kill -9`, and each result arrives once."""
    store = {"DISTQ_STORE": f"sqlite:///{tmp_path / 'queue.db'}"}
    grid.tasks(2)

    async def program() -> Counter[int]:
        master = await asyncio.to_thread(grid.master, **store)
        async with client_of(grid) as client:
            futures = []
            for start in range(0, 3 * TASKS, TASKS):
                futures += [await client.submit(tasks.square, n) for n in range(start, start + TASKS)]
                await asyncio.wait_for(futures[-TASKS // 2], 2 * SOON_S)
                master.signal(signal.SIGKILL)
                master.ends()
                master = await asyncio.to_thread(grid.master, **store)
            return Counter(await asyncio.gather(*futures))

    assert asyncio.run(program()) == Counter(n * n for n in range(3 * TASKS))


def test_chains_maps_streams_progress_and_schedules_work_from_coroutines(grid: Cluster) -> None:
    """They do what those of the threaded client do."""
    grid.master()
    grid.run("worker", "tests.e2e.tasks", "tests.e2e.concurrent_tasks", "--concurrency", "2")

    async def program() -> None:
        async with client_of(grid) as client, asyncio.timeout(3 * SOON_S):
            assert await (await client.chain(distq.call(tasks.square, 3), distq.call(tasks.square))) == 81
            assert await (await client.gather(distq.call(tasks.square, 3), distq.call(tasks.square, 4))) == [9, 16]
            async with aclosing(client.map(tasks.square, range(300), concurrency=20)) as squares:
                assert [n async for n in squares] == [n * n for n in range(300)]
            future = await client.submit(concurrent_tasks.counts, 20)
            assert [n async for n in future.stream(timeout=SOON_S)] == list(range(20))
            kept = await client.options(every="1h").schedule("hourly", tasks.square, 5)
            assert (kept.name, kept.next_at is not None) == ("hourly", True)
            again = await client.future(await future.accepted())
            assert await again == await future

    asyncio.run(program())


def test_a_running_task_reports_progress_and_is_aborted(grid: Cluster, held: Path) -> None:
    """A cancelled wait and `cancel` leave it running; `abort` stops it."""
    grid.master()
    grid.run("worker", "tests.e2e.concurrent_tasks", "--concurrency", "1")

    async def program() -> None:
        async with client_of(grid) as client, asyncio.timeout(3 * SOON_S):
            future = await client.submit(concurrent_tasks.awaits, str(held), "first")
            async with aclosing(future.follow_progress(every=0.05)) as reports:
                assert await anext(reports) == (0.5, "first")
            waiting = asyncio.ensure_future(future)
            waiting.cancel()
            await asyncio.wait([waiting])
            assert not await future.cancel()
            assert await future.running()
            assert await future.abort()
            assert await future.wait_until_ended(None)
            assert isinstance(future.exception(), distq.TaskCancelled)

    asyncio.run(program())


def test_a_cluster_of_the_test_serves_an_asyncio_client() -> None:
    """`distq.testing.cluster` moves its clock for the tasks of such a client too; the client needs no arguments."""

    async def program(cluster: testing.Cluster) -> None:
        async with distq.AsyncClient() as client, asyncio.timeout(3 * SOON_S):
            assert await (await client.submit(tasks.square, 3)) == 9
            late = await client.options(delay="3h").submit(tasks.square, 4)
            await late.accepted()
            await asyncio.to_thread(cluster.advance, hours=3)
            assert await late == 16
            cluster.assert_submitted(tasks.square, 4)

    with testing.cluster(tasks, concurrency=1) as cluster:
        asyncio.run(program(cluster))


def test_a_task_without_a_worker_is_reported_to_an_asyncio_program(
    grid: Cluster, caplog: pytest.LogCaptureFixture
) -> None:
    """The warning says why the task waits, as that of a threaded client; also for the tasks of a map."""
    grid.master()

    async def warned(use: Callable[[distq.AsyncClient], Awaitable[object]]) -> None:
        async with client_of(grid) as client, asyncio.timeout(3 * SOON_S):
            using = asyncio.ensure_future(use(client))
            while "waits. No worker is connected." not in caplog.text:  # noqa: ASYNC110 - a record sets no event
                await asyncio.sleep(0.05)  # a record has no notification
            using.cancel()
            client.abandon()
        caplog.clear()

    async def submits(client: distq.AsyncClient) -> None:
        await (await client.submit(tasks.square, 3))

    async def maps(client: distq.AsyncClient) -> None:
        async with aclosing(client.map(tasks.square, range(3))) as squares:
            await anext(squares)

    asyncio.run(warned(submits))
    asyncio.run(warned(maps))
