"""Recovery races that other task queues have shipped: no task is lost, and none is counted twice."""

import time
from typing import Any

import pytest
from tests.master.bench import LEASE_S, WAITING, Bench, FakeConnection, done, failed, on_bench

from distq.master.cycle.clock import SystemClock

PAUSE_S = 20.0
"""Longer than any pause of the rules between two attempts."""


@on_bench()
async def test_a_sweep_at_the_same_instant_as_a_settle(bench: Bench) -> None:
    """The lease ends in the cycle of its answer: the answer counts, and no executor runs the task again."""
    bench.worker()
    connection = bench.executor()
    await bench.submit(bench.client(), 1, [b"a"])
    (row,) = await bench.exchange(connection)
    bench.clock.at += 2 * LEASE_S
    bench.call(connection, "broker", "exchange", [done(row)], 0, 0.0)
    await bench.run_until_idle()
    assert bench.counts("q") == {"succeeded": 1}
    assert bench.counters("q", "f").completed["success"] == 1


@on_bench()
async def test_a_settle_right_after_the_sweep(bench: Bench) -> None:
    """The lease has just ended, and another executor holds the task: the late success settles it once."""
    bench.worker()
    connection = bench.executor()
    await bench.submit(bench.client(), 1, [b"a"])
    (row,) = await bench.exchange(connection)
    await bench.advance(2 * LEASE_S)
    bench.worker("second")
    (again,) = await bench.exchange(bench.executor(1, "second"))
    assert again[0] == row[0]
    await bench.exchange(connection, [done(row)], want=0)
    assert bench.counts("q") == {"succeeded": 1}
    await bench.exchange(bench.executor(2, "second"), [done(again)], want=0)
    counters = bench.counters("q", "f")
    assert (counters.completed["success"], counters.late) == (1, {"success": 2})


async def three_that_failed(bench: Bench) -> tuple[FakeConnection, list[Any]]:
    """Return an executor and the leases of its three tasks, which failed and wait for their next attempts."""
    bench.worker()
    connection = bench.executor()
    await bench.submit(bench.client(), 1, [b"a", b"b", b"c"])
    rows = await bench.exchange(connection, want=3)
    await bench.exchange(connection, [failed(row) for row in rows], want=0)
    return connection, rows


@on_bench()
async def test_a_sweep_past_entries_that_it_cannot_rescue(bench: Bench) -> None:
    """One due task is settled in the same cycle: the other tasks become ready in that cycle."""
    connection, rows = await three_that_failed(bench)
    assert bench.counts("q") == {"delayed": 3}
    bench.clock.at += PAUSE_S
    bench.call(connection, "broker", "exchange", [done(rows[0])], 0, 0.0)
    await bench.cycle()
    assert bench.counts("q") == {"succeeded": 1, "ready": 2}


@on_bench()
async def test_a_store_error_in_the_middle_of_a_sweep(bench: Bench) -> None:
    """Due tasks stay due, and change with the next commit that the store accepts."""
    await three_that_failed(bench)
    bench.store.refuse_next = 10**6
    await bench.ask(bench.connection(), "work", "put", 1)
    await bench.advance(PAUSE_S)
    assert bench.counts("q") == {"delayed": 3}
    bench.store.refuse_next = 0
    await bench.advance(2)
    assert bench.counts("q") == {"ready": 3}


@on_bench()
async def test_a_payload_that_kills_executors_is_found_in_the_middle_of_a_leased_batch(bench: Bench) -> None:
    """Earlier tasks are settled, later ones go back uncounted; the task that killed the executor is blamed."""
    supervisor, connection = bench.worker(), bench.executor()
    await bench.submit(bench.client(), 1, [b"a", b"poison", b"c"])
    rows = await bench.exchange(connection, want=3)
    await bench.exchange(connection, [done(rows[0])], want=0)
    exited = {"index": 1, "cause": "killed by SIGSEGV", "kind": "signal", "running": rows[1][:2]}
    await bench.ask(supervisor, "broker", "heartbeat", {"exited": [exited]})
    lost = {row[4]: bench.ledger.state.tasks[row[0]].lost for row in rows}
    assert lost == {b"a": 0, b"poison": 1, b"c": 0}
    assert bench.counts("q") == {"succeeded": 1, "ready": 2}
    leased = [await bench.exchange(bench.executor(index), want=3) for index in (2, 3)]
    assert sorted([row[4] for row in batch] for batch in leased) == [[b"c"], [b"poison"]]


@on_bench()
async def test_a_wait_lasts_its_duration_for_any_wall_clock(bench: Bench) -> None:
    """The master has a clock of its own, which goes on from where it started."""
    connection = bench.connection()
    assert await bench.ask(connection, "work", "get", timeout=5) is WAITING
    await bench.advance(5)
    assert not connection.waits


def test_the_wall_clock_stepping_back_two_hours(monkeypatch: pytest.MonkeyPatch) -> None:
    """The master reads the wall clock once, at its start, and sees no later step. Tests of loading cover restarts."""
    clock = SystemClock()
    before = clock.now()
    wall = time.time()  # noqa: TID251 - the clock that steps
    monkeypatch.setattr(time, "time", lambda: wall - 7200.0)
    assert 0 <= clock.now() - before < 60
