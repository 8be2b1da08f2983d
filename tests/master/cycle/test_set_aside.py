"""P10: a task that no connected worker can run costs the tasks of other kinds no time."""

from tests.master.bench import DEFAULTS, WAITING, Bench, done, on_bench

from distq.core.option_values import TASK
from distq.core.outcome import Outcome
from distq.core.registry import Defaults, Registry
from distq.core.retention import RetainedResults
from distq.core.task import Task

TASKS = DEFAULTS._replace(capacity=100_000)


@on_bench(defaults=TASKS)
async def test_p10_a_task_that_no_worker_can_run_is_examined_once(bench: Bench) -> None:
    """Unknown names, missing labels, too many slots and paused names cost other tasks nothing."""
    client = bench.client()
    number = 0
    for index in range(50):
        for options in ((), (None, None, None, None, None, ("gpu",)), (None, None, None, None, None, None, 50)):
            number += 1
            envelope = ("q", f"old:{index}", *options)
            await bench.ask(client, "broker", "submit", number, [envelope], [(0, 1)], [b"a"], 0.0)
    cli = bench.connection()
    bench.hello(cli, "cli", "x")
    await bench.ask(client, "broker", "submit", number + 1, [("q", "paused")], [(0, 1)], [b"a"], 0.0)
    await bench.ask(cli, "broker", "admin", "pause", {"queue": "q", "name": "paused"})
    bench.worker()
    connection = bench.executor()
    while rows := await bench.exchange(connection, want=20):
        await bench.exchange(connection, [(row[0], row[1], Outcome.UNKNOWN, None, 0.0, "") for row in rows], want=0)
    queue = bench.queue("q")
    await bench.submit(client, number + 2, [b"b"])
    examined = 0

    def wanted(name: str) -> bool:
        nonlocal examined
        examined += 1
        return name == "f"

    assert [task.body for task in queue.take(wanted, 10)] == [b"b"]
    assert examined == 1
    assert len(queue.offers) <= 1


@on_bench(defaults=TASKS)
async def test_p10_a_task_set_aside_is_offered_to_the_worker_that_can_run_it(bench: Bench) -> None:
    """A worker with the code, the labels or the slots gets the tasks in submit order."""
    client = bench.client()
    first, labels, none = ("q", "new"), ("q", "f", None, None, None, None, None, ("gpu",)), (None,) * 6
    for number, envelope in enumerate((first, labels, ("q", "f", *none, 50)), 1):
        await bench.ask(client, "broker", "submit", number, [envelope], [(0, 1)], [bytes([number])], 0.0)
    bench.worker("old")
    connection = bench.executor(1, "old")
    (row,) = await bench.exchange(connection, want=5)
    await bench.exchange(connection, [(row[0], row[1], Outcome.UNKNOWN, None, 0.0, "")], want=0)
    assert await bench.exchange(connection, want=5) == []
    queue = bench.queue("q")
    assert sum(map(len, queue.set_aside.values())) == 3
    assert queue not in bench.ledger.state.ready_queues
    bench.worker("new", labels=["gpu"], slots=60)
    other = bench.executor(1, "new")
    got = []
    while rows := await bench.exchange(other, want=5):
        got += [row[4] for row in rows]
        await bench.exchange(other, [done(row) for row in rows], want=0)
    assert got == [b"\x01", b"\x02", b"\x03"]
    assert not queue.set_aside


@on_bench(defaults=TASKS)
async def test_p10_a_waiting_worker_gets_the_tasks_that_its_new_slots_allow(bench: Bench) -> None:
    """The tasks were set aside while the worker had too few slots."""
    client = bench.client()
    supervisor = bench.worker(slots=2)
    connection = bench.executor()
    envelope = ("q", "f", None, None, None, None, None, None, 3)
    await bench.ask(client, "broker", "submit", 1, [envelope], [(0, 1)], [b"a"], 0.0)
    assert await bench.exchange(connection, wait_s=10.0) is WAITING
    await bench.ask(supervisor, "broker", "heartbeat", {"slots": 4}, 0.0)
    assert [row[4] for row in bench.rows(connection)] == [b"a"]


def test_p10_results_of_many_ttls_are_dropped_as_fast_as_of_one() -> None:
    """Each result is dropped at the end of its TTL, the oldest first, although each task has its own TTL."""
    names = Registry(Defaults())
    retained = RetainedResults()
    for number in range(1000):
        task = Task(number, names.envelope("q", "f", TASK, result_ttl_s=1000.0 - number / 7), None, None, 0.0)
        task.state_since_at = 5.0
        retained.add(task)
    assert retained.next_at() == 5.0 + 1000.0 - 999 / 7
    disconnected: list[int] = []
    for now in (800.0, 900.0, 2000.0):
        while found := list(retained.expired(now, 10)):
            assert len(found) <= 10
            for task in found:
                assert task.state_since_at + task.envelope.result_ttl_s <= now
                retained.drop(task)
            disconnected += [task.task_key for task in found]
    assert disconnected == list(range(999, -1, -1))
    assert retained.next_at() is None
