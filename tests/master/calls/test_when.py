"""When tasks run, by the master's clock: delays, etas, expiries, retries and snoozes."""

from typing import Any

import pytest
from tests.master.bench import START, WAITING, Bench, done, failed, on_bench

from distq.core.loading import Loader, restore
from distq.core.states import CANCELLED, EXPIRED
from distq.wire.errors import RemoteRefusal

When = tuple[float | None, float | None, float | None]


async def submit(bench: Bench, connection: Any, number: int, when: When | None, body: bytes = b"a") -> Any:
    """Submit one task with these times."""
    runs = [(0, 1) if when is None else (0, 1, when)]
    return await bench.ask(connection, "broker", "submit", number, [("q", "f")], runs, [body], 0.0)


@pytest.mark.parametrize("when", [(10.0, None, None), (None, START + 10, None), (10.0, START + 5, None)])
def test_a_delayed_task_is_leased_when_its_delay_and_its_eta_are_over(when: When) -> None:
    """An executor that waits gets the task at that instant."""

    @on_bench()
    async def scene(bench: Bench) -> None:
        """One delayed task."""
        bench.worker()
        connection = bench.executor()
        await submit(bench, bench.client(), 1, when)
        assert bench.counts("q") == {"delayed": 1}
        assert await bench.exchange(connection, wait_s=60.0) is WAITING
        await bench.advance(9.9)
        assert bench.rows(connection) is WAITING
        await bench.advance(0.1)
        assert [row[4] for row in bench.rows(connection)] == [b"a"]

    scene()


@on_bench()
async def test_a_task_with_a_past_eta_is_ready_immediately(bench: Bench) -> None:
    """The executor gets it in the same exchange."""
    await submit(bench, bench.client(), 1, (None, START - 5, None))
    assert bench.counts("q") == {"ready": 1}


@on_bench()
async def test_p2_a_task_that_was_not_leased_in_time_expires_and_its_client_receives_that(bench: Bench) -> None:
    """A ready task and a delayed one expire, and are never leased then."""
    client = bench.client()
    await submit(bench, client, 1, (None, None, 10.0))
    await submit(bench, client, 2, (60.0, None, 10.0))
    await bench.advance(10)
    assert bench.counts("q") == {"expired": 2}
    bench.worker()
    assert await bench.exchange(bench.executor()) == []
    _, rows = await bench.ask(client, "broker", "results", 0, 1.0)
    assert [row[1] for row in rows] == [EXPIRED, EXPIRED]
    assert bench.counters("q", "f").completed["expired"] == 2


@on_bench()
async def test_a_task_that_was_leased_in_time_may_succeed_after_its_expiry(bench: Bench) -> None:
    """A success counts; a failure after the expiry is not retried."""
    bench.worker()
    connection = bench.executor()
    client = bench.client()
    for number in (1, 2):
        await submit(bench, client, number, (None, None, 10.0))
    good, bad = await bench.exchange(connection, want=2)
    await bench.advance(11)
    await bench.exchange(connection, [done(good), failed(bad)], want=0)
    await bench.advance(0)
    assert bench.counts("q") == {"succeeded": 1, "expired": 1}


@on_bench()
async def test_a_snoozed_task_runs_again_later_and_has_spent_no_attempt(bench: Bench) -> None:
    """This holds for any number of snoozes."""
    bench.worker()
    connection = bench.executor()
    await submit(bench, bench.client(), 1, None)
    for _ in range(10):
        (row,) = await bench.exchange(connection)
        assert row[2] == 1
        await bench.exchange(connection, [(*row[:2], 6, None, 0.1, "", 3.0)], want=0)
        assert bench.counts("q") == {"delayed": 1}
        await bench.advance(3)
    assert bench.counters("q", "f").attempts["snoozed"] == 10


@on_bench()
async def test_a_retry_after_a_pause_of_its_own_spends_an_attempt(bench: Bench) -> None:
    """The task is a dead letter when it has no attempt left."""
    bench.worker()
    connection = bench.executor()
    await submit(bench, bench.client(), 1, None)
    (row,) = await bench.exchange(connection)
    await bench.exchange(connection, [(*failed(row), 20.0)], want=0)
    await bench.advance(19)
    assert bench.counts("q") == {"delayed": 1}
    await bench.advance(1)
    (row,) = await bench.exchange(connection)
    assert row[2] == 2
    await bench.exchange(connection, [(*failed(row), 20.0)], want=0)
    assert bench.counts("q") == {"dead": 1}


@on_bench()
async def test_a_discarded_task_ends_as_cancelled_with_its_reason(bench: Bench) -> None:
    """The task is no dead letter."""
    bench.worker()
    connection, client = bench.executor(), bench.client()
    await submit(bench, client, 1, None)
    (row,) = await bench.exchange(connection)
    await bench.exchange(connection, [(*row[:2], 7, None, 0.1, "discarded: too old")], want=0)
    assert bench.counts("q") == {"cancelled": 1}
    _, rows = await bench.ask(client, "broker", "results", 0, 1.0)
    assert rows == [(row[0], CANCELLED, None, ["discarded: too old"])]


@on_bench()
async def test_p1_a_restarted_master_knows_delays_and_expiries(bench: Bench) -> None:
    """It also knows which tasks have expired already."""
    client = bench.client()
    for number, when in enumerate([(10.0, None, None), (None, None, 20.0), (None, None, 1.0)], 1):
        await submit(bench, client, number, when)
    await bench.advance(2)
    again = Bench()
    loader = Loader(again.ledger.registry)
    loader.feed([(key, head) for key, (head, _) in bench.store._rows.items()])
    restore(again.ledger, loader, bench.clock.at)
    again.clock.at = bench.clock.at
    assert again.counts("q") == {"ready": 1, "delayed": 1, "expired": 1}
    again.ledger.sweeper.sweep(START + 19.9)
    again.ledger.apply(START + 19.9)
    assert again.counts("q") == {"ready": 2, "expired": 1}
    again.ledger.sweeper.sweep(START + 20)
    again.ledger.apply(START + 20)
    assert again.counts("q") == {"ready": 1, "expired": 2}


@on_bench()
async def test_a_submit_with_invalid_times_is_refused(bench: Bench) -> None:
    """The master accepts no task of the submit."""
    connection = bench.client()
    for number, when in enumerate([(-1.0, None, None), ("5", None, None), (1.0, None), (None, float("nan"), None)], 1):
        answer = await submit(bench, connection, number, when)  # type: ignore[arg-type] # the mistake
        assert isinstance(answer, RemoteRefusal), when
    assert "delay is a duration from 0 s to 366 days" in str(await submit(bench, connection, 9, (1e12, None, None)))
    assert bench.counts("q") == {}
