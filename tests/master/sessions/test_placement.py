"""The ready tasks that count for an autoscaler: all that a connected worker can run, and one of each other kind."""

from typing import Any

from tests.master.bench import Bench, on_bench

from distq.core.demand import Demand, demands
from distq.master.sessions.placement import ConnectedWorkers


def wanted(bench: Bench, queue: str = "q") -> Demand:
    """Return the present demand of a queue."""
    now = bench.clock.now()
    placement = ConnectedWorkers(bench.workers, costly=bench.ledger.registry.costly, now=now)
    (found,) = filter(None, demands([bench.queue(queue)], placement, now, 60.0))
    return found[1]


def tasks(bench: Bench, name: str, count: int, queue: str = "q", **options: Any) -> None:
    """Submit this number of ready tasks of a name."""
    bench.ledger.submit(bench.ledger.registry.envelope(queue, name, "task", **options), [b"x"] * count, None, 0.0)
    bench.ledger.apply(bench.clock.now())


def unknown(row: Any) -> tuple[Any, ...]:
    """Return the answer of a worker that has no such function."""
    return (row[0], row[1], 4, None, 0.0, "")


@on_bench()
async def test_every_task_counts_without_workers(bench: Bench) -> None:
    """A pool that starts from zero must see the demand for labels that only its workers have."""
    tasks(bench, "f", 3)
    tasks(bench, "g", 2, requires=frozenset({"gpu"}), cost=8)
    assert wanted(bench)[:3] == (0, 5, 3 + 16)


@on_bench()
async def test_the_tasks_that_no_worker_can_run_count_as_one(bench: Bench) -> None:
    """One worker started from zero may have the label; a hundred of them could stay idle."""
    bench.worker(slots=2)
    tasks(bench, "f", 2)
    tasks(bench, "g", 3, requires=frozenset({"gpu"}))
    assert wanted(bench).ready == 2 + 1
    bench.worker("large", slots=8, labels=["gpu"])
    assert wanted(bench).ready == 2 + 3
    connection = bench.worker("other", queues=["r"])
    tasks(bench, "f", 1, queue="r", cost=4)
    assert wanted(bench, "r").ready == 1
    assert connection.open


@on_bench()
async def test_a_name_that_every_worker_has_released_does_not_count(bench: Bench) -> None:
    """After these workers have gone, the name counts as one task: the next worker may know it."""
    bench.worker()
    executor = bench.executor()
    tasks(bench, "nowhere", 4)
    (row,) = await bench.exchange(executor)
    await bench.exchange(executor, [unknown(row)], want=0)
    assert wanted(bench) == Demand()
    bench.worker("newer", slots=1)
    assert wanted(bench).ready == 4
    for session in list(bench.workers.sessions.values()):
        bench.workers.detach(session, "connection", "it is gone")
    assert wanted(bench).ready == 1


@on_bench()
async def test_plain_items_count_where_a_worker_takes_them(bench: Bench) -> None:
    """Standard-library programs take plain items too, but no autoscaler starts such programs."""
    await bench.ask(bench.connection(), "work", "put", 1)
    bench.worker(plain=False)
    assert wanted(bench, "work").ready == 1
    bench.worker("w2", plain=True)
    assert wanted(bench, "work").ready == 1


@on_bench()
async def test_a_draining_worker_is_as_good_as_gone(bench: Bench) -> None:
    """A draining worker does not count, since its pod ends."""
    connection = bench.worker()
    tasks(bench, "g", 3, requires=frozenset({"gpu"}))
    assert wanted(bench).ready == 1
    await bench.ask(connection, "broker", "heartbeat", {"draining": True})
    assert wanted(bench).ready == 3


@on_bench()
async def test_running_tasks_count_by_their_slots_and_how_long_they_last(bench: Bench) -> None:
    """The queue is one in which no run has ended yet."""
    bench.worker(slots=4)
    tasks(bench, "f", 4, cost=2)
    connection = bench.executor()
    await bench.exchange(connection)
    assert wanted(bench) == Demand(2, 3, 6, 6.0)
    bench.clock.at += 20
    assert wanted(bench) == Demand(2, 3, 6, 120.0)
