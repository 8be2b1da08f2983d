"""Lease-bound tasks, whose number of runs is limited: their leases are stored first and outlast a closed connection."""

import asyncio
from typing import Any

import pytest
from tests.master.bench import (
    LEASE_S,
    START,
    WAITING,
    Bench,
    FakeConnection,
    done,
    failed,
    on_bench,
    released,
    restarted,
)
from tests.master.calls.test_keys import concurrency, submit
from tests.master.sessions.test_workers import end

from distq.core.states import LEASED
from distq.master.sessions.recovery import end_unless_reclaimed
from distq.master.sessions.timeouts import DISCONNECT_GRACE_S, LAST_CHECK_S


async def given(bench: Bench, count: int = 1) -> tuple[FakeConnection, FakeConnection, list[Any]]:
    """Return a supervisor and its executor, which holds the first of `count` tasks of one key."""
    supervisor, connection = bench.worker(), bench.executor()
    await submit(bench, bench.client(), 1, *[concurrency("joe")] * count)
    return supervisor, connection, await bench.exchange(connection, want=10)


async def leased_and_unstored(bench: Bench) -> tuple[FakeConnection, FakeConnection]:
    """Return an executor that was leased a task in the previous cycle, and the task's client."""
    bench.worker()
    connection, client = bench.executor(), bench.client()
    assert await bench.exchange(connection, wait_s=60.0) is WAITING
    bench.call(client, "broker", "submit", 1, [("q", "f")], [(0, 1, None, concurrency("joe"))], [b"a"], 0.0)
    await bench.cycle()
    return connection, client


@on_bench()
async def test_the_lease_of_a_lease_bound_task_is_stored_before_the_reply(bench: Bench) -> None:
    """A restarted master therefore knows that the task runs."""
    _, connection, (row,) = await given(bench)
    assert bench.ledger.state.tasks[row[0]].holder is connection.state
    again = await restarted(bench)
    assert again.counts("q") == {"leased": 1}
    assert again.ledger.state.tasks[row[0]].delivery == row[1]


@on_bench()
async def test_a_lease_bound_task_is_sent_without_a_further_call(bench: Bench) -> None:
    """The cycle that leases the task wakes the next cycle, which stores the lease."""
    running = asyncio.create_task(bench.broker.run())
    bench.worker()
    connection, client = bench.executor(), bench.client()
    bench.call(connection, "broker", "exchange", [], 1, 60.0)
    bench.call(client, "broker", "submit", 1, [("q", "f")], [(0, 1, None, concurrency("joe"))], [b"a"], 0.0)
    for _ in range(1000):
        await asyncio.sleep(0)  # one iteration of the loop, in which the broker runs
    assert [row[4] for row in bench.rows(connection)] == [b"a"]
    bench.broker.stop()
    await running


@on_bench()
async def test_the_reply_names_the_lease_bound_tasks(bench: Bench) -> None:
    """The reply's sixth field names them, if there are any."""
    bench.worker()
    connection = bench.executor()
    await submit(bench, bench.client(), 1, concurrency("joe"), None)
    answer = await bench.ask(connection, "broker", "exchange", [], 10, 0.0)
    keyed, free = (row[0] for row in answer[1])
    assert answer[2:] == ({}, {}, {}, [keyed])
    answer = await bench.ask(connection, "broker", "exchange", [released((free, answer[1][1][1]))], 10, 0.0)
    assert [row[0] for row in answer[1]] == [free]
    assert answer[2:] == ()


@on_bench()
async def test_a_queue_with_a_limit_has_such_tasks_without_keys(bench: Bench) -> None:
    """Its tasks are lease-bound as long as the queue has a limit."""
    bench.worker()
    connection = bench.executor()
    await bench.admin("queue_set", queue="q", running=1)
    await submit(bench, bench.client(), 1, None)
    answer = await bench.ask(connection, "broker", "exchange", [], 10, 0.0)
    assert answer[5] == [answer[1][0][0]]


@on_bench()
async def test_a_lease_that_cannot_be_stored_is_not_sent(bench: Bench) -> None:
    """The executor receives an empty reply and calls again."""
    connection, _ = await leased_and_unstored(bench)
    bench.store.refuse_next = 1
    await bench.run_until_idle()
    assert bench.rows(connection) == []
    assert bench.counts("q") == {"ready": 1}
    assert len(await bench.exchange(connection)) == 1


@on_bench()
async def test_a_task_that_was_cancelled_before_its_reply_is_not_sent(bench: Bench) -> None:
    """Its executor does not receive the task."""
    connection, client = await leased_and_unstored(bench)
    (key,) = bench.ledger.state.tasks
    assert bench.ledger.state.tasks[key].state == LEASED
    await bench.ask(client, "broker", "cancel", [key], True)
    assert bench.rows(connection) == []
    assert bench.counts("q") == {"cancelled": 1}


@on_bench()
async def test_closed_sockets_do_not_end_the_lease_of_a_lease_bound_task(bench: Bench) -> None:
    """Its worker may still run it behind a broken network; a task without a key goes elsewhere after a second."""
    supervisor, connection = bench.worker(), bench.executor()
    await submit(bench, bench.client(), 1, concurrency("joe"), concurrency("joe"), None)
    rows = await bench.exchange(connection, want=10)
    assert len(rows) == 2
    for peer in (connection, supervisor):
        await bench.disconnect(peer)
    await bench.advance(DISCONNECT_GRACE_S + 0.1)
    assert bench.counts("q") == {"leased": 1, "ready": 1, "held": 1}
    await bench.advance(LEASE_S)
    assert bench.counts("q") == {"ready": 2, "held": 1}
    assert bench.counters("q", "f").redeliveries == {"connection": 2}


@on_bench()
async def test_an_executor_that_connects_again_in_time_settles_its_task(bench: Bench) -> None:
    """The executor settles the task, although its session had been ended."""
    supervisor, connection, (row,) = await given(bench)
    await bench.disconnect(connection)
    await bench.disconnect(supervisor)
    await bench.advance(DISCONNECT_GRACE_S + 0.1)
    assert bench.workers.sessions == {}
    bench.worker()
    back = bench.executor(holds=[(row[0], row[1])])
    await bench.exchange(back, [done(row)], want=0)
    await bench.advance(LEASE_S)
    assert bench.counts("q") == {"succeeded": 1}
    assert bench.counters("q", "f").redeliveries == {}


@on_bench()
async def test_a_reported_end_of_an_executor_makes_the_next_task_ready_immediately(bench: Bench) -> None:
    """Its supervisor reports the end, so the master need not wait for the lease."""
    supervisor, _, (row,) = await given(bench, 2)
    await bench.ask(supervisor, "broker", "heartbeat", end(1, row[:2]))
    assert bench.counts("q") == {"ready": 1, "held": 1}


@pytest.mark.parametrize("late_s", [0.2, LEASE_S])
def test_a_master_that_was_stopped_reads_waiting_calls_before_it_ends_leases(late_s: float) -> None:
    """The master was stopped beyond the end of a lease, so it must not blame silent workers."""

    @on_bench()
    async def scene(bench: Bench) -> None:
        """The master is late by either time."""
        supervisor, connection, (row,) = await given(bench)
        bench.clock.at += LEASE_S + late_s
        await bench.run_until_idle()
        assert bench.counts("q") == {"leased": 1}
        await bench.ask(supervisor, "broker", "heartbeat", {})
        await bench.advance(LEASE_S - 1)
        assert bench.counts("q") == {"leased": 1}
        await bench.exchange(connection, [done(row)], want=0)
        assert bench.counts("q") == {"succeeded": 1}

    scene()


@on_bench()
async def test_a_master_that_was_stopped_ends_the_leases_of_workers_that_stay_silent(bench: Bench) -> None:
    """The master ends the silent worker's leases `LAST_CHECK_S` later."""
    await given(bench)
    bench.clock.at += 2 * LEASE_S
    await bench.run_until_idle()
    await bench.advance(2 * LAST_CHECK_S)
    assert bench.counts("q") == {"ready": 1}


@pytest.mark.parametrize("returning", ["supervisor", "executor", "none"])
def test_a_restarted_master_waits_for_the_lease_or_a_supervisor_that_names_the_task(returning: str) -> None:
    """A supervisor names its executors' tasks, because executors connect again only after their tasks."""

    @on_bench()
    async def scene(first: Bench) -> None:
        """Lease a lease-bound task, then start another master."""
        _, _, (row,) = await given(first, 2)
        bench = await restarted(first)
        end_unless_reclaimed(bench.broker, bench.absent, 1.0, LEASE_S)
        connection = bench.connection()
        bench.hello(
            connection, "worker", "w", slots=2, tasks=True, holds=[(1, *row[:2])] if returning == "supervisor" else []
        )
        if returning == "executor":
            bench.executor(holds=[tuple(row[:2])])
        for _ in range(4):
            await bench.ask(connection, "broker", "heartbeat", {})
            assert bench.counts("q") == {"leased": 1, "held": 1}
            await bench.advance(LEASE_S / 4 - 0.1)
        await bench.advance(1.0)
        await bench.ask(connection, "broker", "heartbeat", {})
        assert bench.counts("q") == ({"ready": 1, "held": 1} if returning == "none" else {"leased": 1, "held": 1})
        assert bench.clock.at > START + LEASE_S

    scene()


@on_bench()
async def test_an_executor_that_ended_during_a_restart_delays_no_task(first: Bench) -> None:
    """The master need not wait for it: its supervisor reports the end when it connects."""
    _, _, (row,) = await given(first, 2)
    bench = await restarted(first)
    supervisor = bench.worker()
    assert bench.counts("q") == {"leased": 1, "held": 1}
    await bench.ask(supervisor, "broker", "heartbeat", end(1, row[:2], "its lease was over"))
    assert bench.counts("q") == {"ready": 1, "held": 1}
    assert bench.ledger.state.tasks[row[0]].causes == ["its lease was over"]
    await bench.ask(supervisor, "broker", "heartbeat", end(2, (row[0], row[1] + 7)))
    assert bench.counts("q") == {"ready": 1, "held": 1}


@on_bench()
async def test_a_supervisor_may_name_a_task_that_is_not_leased(bench: Bench) -> None:
    """The supervisor's shared page may still name a task that was settled long ago."""
    _, connection, (row,) = await given(bench)
    await bench.exchange(connection, [done(row)], want=0)
    bench.hello(bench.connection(), "worker", "w", slots=2, tasks=True, holds=[(7, *row[:2]), (1, 5), "x", (1, 2, "y")])
    assert bench.counts("q") == {"succeeded": 1}
    assert list(bench.workers.sessions["w"].executors) == [1]


# -- tasks that have ended and run on ---------------------------------------------------------------


async def aborted(bench: Bench) -> tuple[FakeConnection, FakeConnection, list[Any]]:
    """Return as `given` for two tasks, after the first one was cancelled while it ran."""
    supervisor, connection, (row,) = await given(bench, 2)
    assert (await bench.ask(bench.client("other"), "broker", "cancel", [row[0]], True))["done"] == 1
    assert bench.counts("q") == {"cancelled": 1, "held": 1}
    return supervisor, connection, row


@on_bench()
async def test_a_task_that_was_cancelled_keeps_its_place_until_it_has_stopped(bench: Bench) -> None:
    """It may take two seconds to stop, and the next task of its key must not run beside it."""
    _, connection, row = await aborted(bench)
    await bench.exchange(connection, [failed(row)], want=0)
    assert bench.counts("q") == {"cancelled": 1, "ready": 1}
    assert len(await bench.exchange(connection)) == 1


@on_bench()
async def test_the_place_of_a_cancelled_task_is_free_when_its_executor_has_ended(bench: Bench) -> None:
    """The supervisor had to kill the executor."""
    supervisor, _, row = await aborted(bench)
    await bench.ask(supervisor, "broker", "heartbeat", end(1, row[:2]))
    assert bench.counts("q") == {"cancelled": 1, "ready": 1}


@on_bench()
async def test_the_place_of_a_cancelled_task_is_free_when_its_executor_connects_without_it(bench: Bench) -> None:
    """The place is free even if the executor's answer was lost."""
    await aborted(bench)
    bench.executor()
    await bench.run_until_idle()
    assert bench.counts("q") == {"cancelled": 1, "ready": 1}


@on_bench()
async def test_the_place_of_a_cancelled_task_is_free_when_its_lease_is_over(bench: Bench) -> None:
    """Its worker sends no more reports."""
    supervisor, connection, _ = await aborted(bench)
    await bench.disconnect(connection)
    await bench.disconnect(supervisor)
    await bench.advance(LEASE_S - 1)
    assert bench.counts("q") == {"cancelled": 1, "held": 1}
    await bench.advance(1.1)
    assert bench.counts("q") == {"cancelled": 1, "ready": 1}


@on_bench()
async def test_a_task_that_was_cancelled_while_its_worker_was_absent_is_stopped_later(bench: Bench) -> None:
    """Its supervisor names the task and must stop it; no other task takes its place until then."""
    supervisor, connection, (row,) = await given(bench, 2)
    await bench.disconnect(connection)
    await bench.disconnect(supervisor)
    await bench.advance(DISCONNECT_GRACE_S + 0.1)
    await bench.ask(bench.client("other"), "broker", "cancel", [row[0]], True)
    back = bench.connection()
    bench.hello(back, "worker", "w", slots=2, tasks=True, holds=[(1, *row[:2])])
    reply = []
    for _ in range(5):
        reply.append(await bench.ask(back, "broker", "heartbeat", {}))
        await bench.advance(LEASE_S / 3)
        assert bench.counts("q") == {"cancelled": 1, "held": 1}
    assert reply == [{"abort": [(row[0], row[1])]}, *[{"abort": []}] * 4]
    await bench.ask(back, "broker", "heartbeat", end(1, row[:2]))
    assert bench.counts("q") == {"cancelled": 1, "ready": 1}


async def aborted_and_restarted(first: Bench) -> tuple[Bench, list[Any]]:
    """Return as `aborted`, after the master was killed and started again."""
    _, _, row = await aborted(first)
    bench = await restarted(first)
    end_unless_reclaimed(bench.broker, bench.absent, 1.0, LEASE_S)
    assert bench.counts("q") == {"cancelled": 1, "held": 1}
    return bench, row


@on_bench()
async def test_a_cancelled_task_that_may_still_run_keeps_its_place_over_a_restart(first: Bench) -> None:
    """Its worker does not connect again, so the place is free when the lease must be over."""
    bench, _ = await aborted_and_restarted(first)
    await bench.advance(LEASE_S - 0.1)
    assert bench.counts("q") == {"cancelled": 1, "held": 1}
    await bench.advance(0.2)
    assert bench.counts("q") == {"cancelled": 1, "ready": 1}


@on_bench()
async def test_a_restarted_master_repeats_the_order_to_stop_a_cancelled_task(first: Bench) -> None:
    """The killed master's order may be lost. The place is free when the executor has ended."""
    bench, row = await aborted_and_restarted(first)
    back = bench.connection()
    bench.hello(back, "worker", "w", slots=2, tasks=True, holds=[(1, *row[:2])])
    answer = []
    for _ in range(5):
        answer.append(await bench.ask(back, "broker", "heartbeat", {}))
        await bench.advance(LEASE_S / 3)
        assert bench.counts("q") == {"cancelled": 1, "held": 1}
    assert answer == [{"abort": [(row[0], row[1])]}, *[{"abort": []}] * 4]
    await bench.ask(back, "broker", "heartbeat", end(1, row[:2]))
    assert bench.counts("q") == {"cancelled": 1, "ready": 1}


@on_bench()
async def test_the_settle_of_a_cancelled_task_frees_its_place_after_a_restart(first: Bench) -> None:
    """Its executor connects again and sends the answer."""
    bench, row = await aborted_and_restarted(first)
    await bench.exchange(bench.executor(holds=[tuple(row[:2])]), [failed(row)], want=0)
    assert bench.counts("q") == {"cancelled": 1, "ready": 1}


@on_bench()
async def test_a_cancelled_task_that_had_stopped_before_a_restart_holds_up_no_other(first: Bench) -> None:
    """The commit that frees its place stores that it stopped; a second restart finds the same state."""
    _, connection, row = await aborted(first)
    await first.exchange(connection, [failed(row)], want=0)
    bench = await restarted(await restarted(first))
    assert bench.counts("q") == {"cancelled": 1, "ready": 1}
    assert not bench.ledger.holds(bench.absent)


@on_bench()
async def test_a_second_restart_keeps_the_place_of_a_cancelled_task_too(first: Bench) -> None:
    """The first restart does not change the stored state."""
    bench = await restarted((await aborted_and_restarted(first))[0])
    assert bench.counts("q") == {"cancelled": 1, "held": 1}


@on_bench()
async def test_a_cancelled_task_keeps_its_place_in_a_limited_queue_over_a_restart(first: Bench) -> None:
    """The limit counts running tasks, and a restarted master counts the same tasks."""
    first.worker()
    await first.admin("queue_set", queue="q", running=1)
    await submit(first, first.client(), 1, None, None)
    (row,) = await first.exchange(first.executor())
    await first.ask(first.client("other"), "broker", "cancel", [row[0]], True)
    bench = await restarted(first)
    bench.worker("heir")
    other = bench.executor(1, "heir")
    assert await bench.exchange(other, wait_s=60.0) is WAITING
    assert bench.queue("q").running == 1
    await bench.exchange(bench.executor(holds=[tuple(row[:2])]), [failed(row)], want=0)
    assert len(bench.rows(other)) == 1


@pytest.mark.parametrize("restarts", [False, True])
def test_a_task_whose_result_is_not_kept_is_known_until_it_has_stopped(*, restarts: bool) -> None:
    """A restarted master needs the task to know of the run and to stop it at a returning worker."""

    @on_bench()
    async def scene(bench: Bench) -> None:
        """The running task is cancelled, and its result's retention is over before the task has stopped."""
        bench.worker()
        connection = bench.executor()
        runs, bodies = [(0, 1, None, concurrency("joe"))] * 2, [b"a", b"b"]
        envelope = ("q", "f", None, None, None, 1.0)
        await bench.ask(bench.client(), "broker", "submit", 1, [envelope], runs, bodies, 0.0)
        (row,) = await bench.exchange(connection)
        await bench.ask(bench.client("other"), "broker", "cancel", [row[0]], True)
        if restarts:
            bench = await restarted(bench)
            connection = bench.executor(holds=[tuple(row[:2])])
        await bench.advance(3.0)
        assert bench.counts("q") == {"cancelled": 1, "held": 1}
        await bench.exchange(connection, [failed(row)], want=0)
        await bench.advance(2.0)
        assert bench.counts("q") == {"ready": 1}

    scene()


@on_bench()
async def test_a_cancelled_task_keeps_its_place_in_a_limited_queue(bench: Bench) -> None:
    """The limit counts running tasks, not leased tasks."""
    bench.worker()
    first, second = bench.executor(1), bench.executor(2)
    await bench.admin("queue_set", queue="q", running=1)
    await submit(bench, bench.client(), 1, None, None)
    (row,) = await bench.exchange(first)
    await bench.ask(bench.client("other"), "broker", "cancel", [row[0]], True)
    assert await bench.exchange(second, wait_s=60.0) is WAITING
    assert bench.queue("q").running == 1
    await bench.exchange(first, [released(row)], want=0)
    assert len(bench.rows(second)) == 1
    assert bench.queue("q").orphaned_count == 0


@on_bench()
async def test_a_late_success_makes_no_task_ready_beside_the_second_run(bench: Bench) -> None:
    """The success counts, and the second run keeps its place until its executor has answered."""
    _, connection, (row,) = await given(bench, 2)
    await bench.advance(LEASE_S + 1)
    bench.worker("heir")
    other = bench.executor(1, "heir")
    (again,) = await bench.exchange(other)
    assert again[0] == row[0]
    await bench.exchange(connection, [done(row)], want=0)
    assert bench.counts("q") == {"succeeded": 1, "held": 1}
    await bench.exchange(other, [done(again)], want=0)
    assert bench.counts("q") == {"succeeded": 1, "ready": 1}


@on_bench()
async def test_a_refused_commit_frees_no_place(bench: Bench) -> None:
    """The master commits the answer again, which then frees the place."""
    _, connection, row = await aborted(bench)
    bench.store.refuse_next = 1
    bench.call(bench.client("third"), "broker", "submit", 1, [("q", "g")], [(0, 1)], [b"x"], 0.0)
    await bench.exchange(connection, [failed(row)], want=0)
    await bench.advance(2)
    assert bench.counts("q") == {"cancelled": 1, "ready": 1}
    assert bench.ledger.state.orphaned_runs.running == {}
