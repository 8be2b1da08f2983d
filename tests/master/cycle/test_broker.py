"""The broker's cycle: draining, one commit for all, and waits that cost nothing once they are over."""

import asyncio
from typing import Any

import pytest
from tests.master.bench import DEFAULTS, WAITING, Bench, done, on_bench

from distq.core.ledger import Ledger
from distq.core.ports import StoreLimits
from distq.core.queue import Queue
from distq.core.task import Task
from distq.master.cycle.long_polls import WaitingRequests


@on_bench()
async def test_a_drain_waits_for_the_leased_tasks_and_leases_no_more(bench: Bench) -> None:
    """The master still accepts settles and submits; the drain is over with the last settle."""
    bench.worker()
    connection, plain = bench.executor(), bench.connection()
    await bench.submit(bench.client(), 1, [b"a", b"b"])
    (row,) = await bench.exchange(connection)
    drain = asyncio.create_task(bench.broker.drain())
    await asyncio.sleep(0)
    assert await bench.exchange(connection, want=1, wait_s=5) is WAITING
    await bench.ask(bench.client("other"), "broker", "submit", 1, [("q", "f")], [(0, 1)], [b"c"], 0.0)
    assert await bench.ask(plain, "work", "put", 1) is None
    assert await bench.ask(plain, "work", "get") is WAITING
    assert bench.counts("q") == {"ready": 2, "leased": 1}
    assert not drain.done()
    await bench.exchange(bench.executor(), [done(row)], want=0)
    await asyncio.sleep(0)
    assert drain.done()
    assert bench.counts("q") == {"ready": 2, "succeeded": 1}


@on_bench()
async def test_p9_an_executor_has_the_answer_to_its_settle_before_the_master_ends(bench: Bench) -> None:
    """Without it a worker that ends with its master would wait out its own drain to settle the task again."""
    bench.worker()
    connection, plain = bench.executor(), bench.connection()
    await bench.submit(bench.client(), 1, [b"a", b"b"])
    first, second = await bench.exchange(connection, want=2)
    assert await bench.exchange(connection, [done(first)], want=0) == []
    waiting = bench.executor(2)
    assert await bench.exchange(waiting, wait_s=100) is WAITING
    assert await bench.ask(plain, "work", "get") is WAITING
    drain = asyncio.create_task(bench.broker.drain())
    await asyncio.sleep(0)
    assert bench.rows(waiting) == []
    assert plain.waits
    assert await bench.exchange(connection, [done(second)], wait_s=100) == []
    await asyncio.sleep(0)
    assert drain.done()


@on_bench()
async def test_an_empty_master_is_drained_immediately(bench: Bench) -> None:
    """No task is leased, so the drain has nothing to wait for."""
    drain = asyncio.create_task(bench.broker.drain())
    await asyncio.sleep(0)
    await bench.run_until_idle()
    await asyncio.sleep(0)
    assert drain.done()


@on_bench(defaults=DEFAULTS._replace(capacity=100))
async def test_a_batch_has_at_most_what_the_store_accepts(bench: Bench) -> None:
    """Changes and bytes are limited; the next commit has the rest, and nothing is refused or done twice."""
    for limits in (StoreLimits(1 << 20, 1 << 20, 20), StoreLimits(1 << 20, 4_000, 1_000)):
        bench.store.limits = limits
        bench.store.batches.clear()
        connections = [bench.client(f"{limits.batch_changes_max} {number}") for number in range(12)]
        for connection in connections:
            bench.call(connection, "broker", "submit", 1, [("q", "f")], [(0, 4)], [b"x" * 100] * 4, 0.0)
        await bench.run_until_idle()
        assert all(connection.answer()[0] is True for connection in connections)
        assert len(bench.store.batches) > 2
        assert bench.broker.refusals == 0
    assert bench.counts("q") == {"ready": 2 * 12 * 4}


@on_bench(defaults=DEFAULTS._replace(capacity=100))
async def test_all_requests_of_a_cycle_are_one_commit(bench: Bench) -> None:
    """One fsync serves fifty callers."""
    connections = [bench.connection() for _ in range(50)]
    for number, connection in enumerate(connections):
        bench.call(connection, "work", "put", number)
    await bench.cycle()
    assert [connection.answer() for connection in connections] == [None] * 50
    assert len(bench.store.batches) == 1


@on_bench(defaults=DEFAULTS._replace(capacity=10))
async def test_a_wait_that_is_over_leaves_nothing_behind(bench: Bench) -> None:
    """An exchange waits at most 10 s and usually less; the broker drops the deadlines of answered exchanges."""
    bench.worker()
    connection, client = bench.executor(), bench.client()
    assert await bench.exchange(connection, wait_s=10) is WAITING
    for number in range(1, 1500):
        await bench.submit(client, number, [b"a"], 0.0, 5, 1, None, 0.0)
        assert await bench.exchange(connection, [done(bench.rows(connection)[0])], wait_s=10) is WAITING
    assert len(bench.broker._wait_ends) < 1100


@on_bench()
async def test_the_loop_runs_cycles_until_it_is_stopped(bench: Bench) -> None:
    """The loop answers calls as they come, and calls that come during a commit share the next one."""
    running = asyncio.create_task(bench.broker.run())
    await asyncio.sleep(0)
    connection = bench.connection()
    for number in range(3):
        bench.call(connection, "work", "put", number)
        for _ in range(10):
            await asyncio.sleep(0)
        assert connection.answer() is None
    bench.broker.stop()
    await running
    assert bench.counts("work") == {"ready": 3}


@on_bench()
async def test_a_waiting_submit_does_not_keep_the_loop_busy(bench: Bench) -> None:
    """A submit of two tasks waits although one place is free, and others are served meanwhile."""
    running = asyncio.create_task(bench.broker.run())
    client, plain = bench.client(), bench.connection()
    for number, count, wait_s in ((1, 5, 0.0), (2, 2, 1e6)):
        bench.call(client, "broker", "submit", number, [("q", "f")], [(0, count)], [b"a"] * count, wait_s)
        for _ in range(20):
            await asyncio.sleep(0)
    assert client.waits
    cycles = bench.broker.cycles
    for _ in range(100):
        await asyncio.sleep(0)
    assert bench.broker.cycles == cycles
    bench.call(plain, "work", "put", 1)
    for _ in range(20):
        await asyncio.sleep(0)
    assert plain.answer() is None
    bench.broker.stop()
    await running


def test_a_cycle_examines_no_ready_queue_that_no_request_waits_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """With 10,000 ready queues each cycle took 9 ms, while all executors were busy or served another queue."""
    examined: list[str] = []
    lease = WaitingRequests.lease

    def noted(self: WaitingRequests, ledger: Ledger, queue: Queue[Task], *others: Any) -> None:
        examined.append(queue.name)
        lease(self, ledger, queue, *others)

    monkeypatch.setattr(WaitingRequests, "lease", noted)

    @on_bench()
    async def submit(bench: Bench) -> None:
        for number in range(20):
            await bench.submit(bench.client(f"c{number}"), 1, [b"a"], queue=f"q{number}")
        assert examined == []
        bench.worker(queues=["other"])
        executor = bench.executor()
        assert await bench.exchange(executor, wait_s=100) is WAITING
        await bench.submit(bench.client(), 1, [b"b"], queue="q1")
        assert examined == []
        await bench.submit(bench.client("last"), 1, [b"c"], queue="other")
        assert examined == ["other"]
        assert len(bench.rows(executor)) == 1

    submit()
