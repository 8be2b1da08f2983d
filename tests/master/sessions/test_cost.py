"""Heavy tasks: each takes several slots of one worker, and does not starve behind light ones."""

from typing import Any

from tests.master.bench import Bench, done, on_bench

from distq.core.task_ids import id_text
from distq.wire.errors import RemoteRefusal


def heavy(name: str, cost: object) -> tuple[Any, ...]:
    """Return an envelope of tasks that take this number of slots."""
    return "q", name, None, None, None, None, None, None, cost


async def submit(bench: Bench, connection: Any, number: int, *envelopes: tuple[Any, ...]) -> Any:
    """Submit one task of each envelope, in this order."""
    runs = [(index, 1) for index in range(len(envelopes))]
    bodies = [b"%d" % index for index in range(len(envelopes))]
    return await bench.ask(connection, "broker", "submit", number, envelopes, runs, bodies, 0.0)


async def explanation(bench: Bench, key: int) -> str:
    """Return why a task does not run."""
    shown = await bench.admin("show", id=id_text(key))
    return str(shown["why"])


@on_bench()
async def test_a_heavy_task_leaves_fewer_slots_for_others(bench: Bench) -> None:
    """It takes three of four slots: one other task runs beside it, the next one after its end."""
    client, _ = bench.client(), bench.worker(slots=4)
    one, two, three = (bench.executor(index) for index in (1, 2, 3))
    await submit(bench, client, 1, heavy("h", 3), ("q", "f"), ("q", "g"))
    (row,) = await bench.exchange(one, want=5)
    assert row[4] == b"0"
    (light,) = await bench.exchange(two, want=1)
    assert await bench.exchange(three, want=5) == []
    (other,) = await bench.exchange(one, [done(row)], want=5)
    assert {light[4], other[4]} == {b"1", b"2"}


@on_bench()
async def test_tasks_behind_a_heavy_one_wait_until_it_fits(bench: Bench) -> None:
    """The heavy task would never have room otherwise; a task of higher priority does not wait."""
    client, _ = bench.client(), bench.worker(slots=2)
    one, two = (bench.executor(index) for index in (1, 2))
    await submit(bench, client, 1, ("q", "f"))
    (light,) = await bench.exchange(one)
    _, first = await submit(bench, client, 2, heavy("h", 2), ("q", "f"))
    assert await bench.exchange(two, want=5) == []
    assert (
        await explanation(bench, first)
        == "It takes 2 slots, and a worker has at most 1 free; the tasks behind it wait too."
    )
    await submit(bench, client, 3, ("q", "g", 9))
    (urgent,) = await bench.exchange(two, want=1)
    await bench.exchange(one, [done(light)], want=0)
    assert await bench.exchange(one, want=5) == []
    (row,) = await bench.exchange(two, [done(urgent)], want=5)
    assert row[0] == first


@on_bench()
async def test_a_task_that_is_too_heavy_for_a_worker_delays_no_other_task_there(bench: Bench) -> None:
    """It waits for a larger worker, and the reason says so."""
    client, _, executor = bench.client(), bench.worker(slots=2), bench.executor()
    _, first = await submit(bench, client, 1, heavy("h", 3), ("q", "f"))
    (row,) = await bench.exchange(executor, want=5)
    assert row[4] == b"1"
    assert (await explanation(bench, first)).startswith(
        "It takes 3 slots, and no worker that could run it has 3 (DISTQ_CONCURRENCY;"
    )
    bench.worker("large", slots=3)
    (row,) = await bench.exchange(bench.executor(1, "large"), want=5)
    assert row[0] == first


@on_bench()
async def test_an_executor_of_several_is_given_no_more_than_its_slots(bench: Bench) -> None:
    """When tasks count in slots, each task of such an executor takes one."""
    client, _ = bench.client(), bench.worker(slots=3)
    executor = bench.connection("executor")
    bench.hello(executor, "executor", "w", index=1, seats=3, holds=[])
    await submit(bench, client, 1, heavy("h", 2), *[("q", "f")] * 3)
    (row,) = await bench.exchange(executor, want=3)
    assert row[4] == b"0"
    assert len(await bench.exchange(executor, want=3)) == 1
    assert await bench.exchange(executor, want=3) == []
    assert len(await bench.exchange(executor, [done(row)], want=3)) == 2


@on_bench()
async def test_a_cost_that_is_none_is_refused(bench: Bench) -> None:
    """The master refuses an invalid cost with a message."""
    client = bench.client()
    for number, cost in enumerate((0, -1, 1.5, "2", 10_000, True), 1):
        answer = await submit(bench, client, number, heavy("h", cost))
        assert isinstance(answer, RemoteRefusal), cost
        assert "cost is a whole number from 1 to 1,000" in str(answer)
