"""`exchange`: executors settle and lease in one round trip."""

import math
import pickle
from typing import Any, cast

import pytest
from tests.master.bench import DEFAULTS, WAITING, Bench, done, failed, on_bench, released

from distq.master.calls.exchange import NO_TASKS
from distq.net.serve import ServerConnection
from distq.wire.errors import RemoteRefusal


@on_bench()
async def test_one_exchange_settles_and_leases(bench: Bench) -> None:
    """One call settles the tasks that were run, and leases the next ones in submit order."""
    client, _, connection = bench.client(), bench.worker(), bench.executor()
    await bench.submit(client, 1, [b"a", b"b", b"c"])
    first, second = await bench.exchange(connection, want=2)
    assert [row[4] for row in (first, second)] == [b"a", b"b"]
    assert first[1:3] == (1, 1)
    (third,) = await bench.exchange(connection, [done(first), done(second)], want=2)
    assert third[4] == b"c"
    assert bench.counts("q") == {"leased": 1, "succeeded": 2}
    assert await bench.exchange(connection, [done(third)], want=0) == []


@on_bench()
async def test_an_exchange_waits_for_a_task(bench: Bench) -> None:
    """The master answers as soon as a task is ready, or when the wait is over."""
    client, _, connection = bench.client(), bench.worker(), bench.executor()
    assert await bench.exchange(connection, wait_s=5) is WAITING
    await bench.submit(client, 1, [b"a"])
    (row,) = bench.rows(connection)
    assert await bench.exchange(connection, [done(row)], wait_s=5) is WAITING
    await bench.advance(4.9)
    assert connection.waits
    await bench.advance(0.2)
    assert bench.rows(connection) == []


@on_bench()
async def test_an_envelope_is_sent_once_for_all_its_tasks(bench: Bench) -> None:
    """The rows of a reply refer to its table of envelopes by index."""
    client, _, connection = bench.client(), bench.worker(), bench.executor()
    await bench.submit(client, 1, [b"a", b"b"], 0.0, 5, 2, 30.0)
    await bench.ask(bench.connection(), "work", "put", 7)
    envelopes, rows = await bench.ask(connection, "broker", "exchange", [], 10, 0.0)
    assert sorted(envelopes) == [("q", "f", "task", 30.0), ("work", "plain", "plain", None)]
    kinds = [(envelopes[row[3]][2], row[4] if envelopes[row[3]][2] == "task" else pickle.loads(row[4])) for row in rows]
    assert sorted(kinds, key=str) == [("plain", 7), ("task", b"a"), ("task", b"b")]


@on_bench()
async def test_a_task_that_fails_is_retried_later_and_then_is_a_dead_letter(bench: Bench) -> None:
    """The master applies `retries` and the backoff; the client receives the last error."""
    client, _, connection = bench.client(), bench.worker(), bench.executor()
    await bench.submit(client, 1, [b"a"])
    (row,) = await bench.exchange(connection)
    assert await bench.exchange(connection, [failed(row)]) == []
    assert await bench.exchange(connection, wait_s=10) is WAITING
    await bench.advance(1)
    (again,) = bench.rows(connection)
    assert again[:3] == (row[0], 2, 2)
    await bench.exchange(connection, [failed(again, cause="ValueError: again")])
    number, rows = await bench.ask(client, "broker", "results", 0, 0)
    assert number == 1
    ((key, state, body, causes),) = rows
    assert (key, state, pickle.loads(body)[0]) == (row[0], 4, "ValueError")
    assert causes == ["ValueError: no", "ValueError: again"]


@on_bench()
async def test_a_released_task_spends_no_attempt(bench: Bench) -> None:
    """The next executor gets the task with the same attempt number."""
    client, _, connection = bench.client(), bench.worker(), bench.executor()
    other = bench.executor(2)
    await bench.submit(client, 1, [b"a"])
    (row,) = await bench.exchange(connection)
    await bench.exchange(connection, [released(row)], want=0)
    (again,) = await bench.exchange(other)
    assert (again[0], again[1], again[2]) == (row[0], 2, 1)


@on_bench()
async def test_a_worker_gets_no_further_task_of_a_name_that_it_does_not_know(bench: Bench) -> None:
    """Another worker, with newer code, gets the task."""
    client, _, old = bench.client(), bench.worker("old"), bench.executor(1, "old")
    await bench.submit(client, 1, [b"a"])
    (row,) = await bench.exchange(old)
    assert await bench.exchange(old, [(row[0], row[1], 4, None, 0.0, "")], wait_s=5) is WAITING
    bench.worker("new")
    (again,) = await bench.exchange(bench.executor(1, "new"))
    assert again[2] == 1
    assert old.waits


@on_bench()
async def test_a_late_failure_changes_nothing_and_a_late_success_settles_the_task(bench: Bench) -> None:
    """P4: a late success ends the present lease; the master counts both settles."""
    client, _, connection = bench.client(), bench.worker(), bench.executor()
    await bench.submit(client, 1, [b"a"])
    (first,) = await bench.exchange(connection)
    await bench.exchange(connection, [released(first)], want=0)
    (second,) = await bench.exchange(bench.executor(2))
    await bench.exchange(connection, [failed(first), released(first)], want=0)
    assert bench.counts("q") == {"leased": 1}
    await bench.exchange(connection, [done(first)], want=0)
    assert bench.counts("q") == {"succeeded": 1}
    await bench.exchange(bench.executor(2), [done(second)], want=0)
    assert bench.counters("q", "f").late == {"failure": 1, "release": 1, "success": 2}
    assert bench.counters("q", "f").completed["success"] == 1


@on_bench()
async def test_the_master_counts_settles_of_unknown_tasks(bench: Bench) -> None:
    """An executor sends them after the restart of a master without a store, for example."""
    bench.worker()
    assert await bench.exchange(bench.executor(), [done((1, 1)), failed((2, 1))]) == []
    assert bench.ledger.unknown_settles == 2


@on_bench()
async def test_the_value_of_a_plain_handler_goes_to_the_result_queue_once(bench: Bench) -> None:
    """The commit that ends the item stores its value, also if the executor sends the settle twice."""
    bench.worker()
    connection, plain = bench.executor(), bench.connection()
    await bench.ask(plain, "work", "put", 7)
    (row,) = await bench.exchange(connection)
    bench.store.batches.clear()
    await bench.exchange(connection, [done(row, 49), done(row, 50)], want=0)
    await bench.exchange(connection, [done(row, 51)], want=0)
    assert [len(batch) for batch in bench.store.batches] == [2]
    assert await bench.ask(plain, "result", "get") == 49
    assert await bench.ask(plain, "result", "empty") is True


@on_bench()
async def test_an_executor_waits_for_a_place_in_a_full_result_queue(bench: Bench) -> None:
    """Its lease is renewed meanwhile, and no settle of the exchange is lost or counted twice."""
    bench.worker()
    connection, plain, reader = bench.executor(), bench.connection(), bench.connection()
    for number in range(3):
        await bench.ask(plain, "work", "put", number)
    rows = await bench.exchange(connection, want=3)
    for number in range(4):
        await bench.ask(reader, "result", "put", number)
    assert await bench.exchange(connection, [done(row, row[0]) for row in rows]) is WAITING
    assert bench.counts("work") == {"leased": 1}
    assert await bench.ask(reader, "result", "get") == 0
    assert bench.rows(connection) == []
    assert bench.counts("work") == {}
    assert bench.counters("work", "plain").completed["success"] == 3
    found = [await bench.ask(reader, "result", "get_nowait") for _ in range(6)]
    assert found == [1, 2, 3, *(row[0] for row in rows)]
    assert bench.ledger.unknown_settles == 0


@pytest.mark.parametrize("plain", [True, False])
def test_a_result_that_is_too_large_makes_its_task_a_dead_letter(plain: bool) -> None:
    """The error gives the size; the other settles of the exchange count."""

    @on_bench()
    async def scene(bench: Bench) -> None:
        client, _, connection = bench.client(), bench.worker(), bench.executor()
        if plain:
            await bench.ask(bench.connection(), "work", "put", 1)
            await bench.ask(bench.connection(), "work", "put", 2)
        else:
            await bench.submit(client, 1, [b"a", b"b"])
        rows = await bench.exchange(connection, want=2)
        assert await bench.exchange(connection, [done(rows[0], "x" * 5000), done(rows[1], 2)]) == []
        assert bench.counts("work" if plain else "q") == ({"dead": 1} if plain else {"dead": 1, "succeeded": 1})
        assert "the limit is 1000" in bench.noted[0][2]
        if plain:
            assert await bench.ask(bench.connection(), "result", "get_nowait") == 2

    scene()


@on_bench()
async def test_an_exchange_with_wrong_arguments_is_refused(bench: Bench) -> None:
    """The connection and the master go on."""
    bench.worker()
    connection = bench.executor()
    good: tuple[Any, ...] = (1, 1, 0, b"", 0.1, "")
    wrong_rows = [
        ("1", *good[1:]),
        (1, 1.5, *good[2:]),
        (1, 1, 11, *good[3:]),
        (1, 1, -1, *good[3:]),
        (1, 1, 0, "text", 0.1, ""),
        *((1, 1, 0, b"", run_s, "") for run_s in (math.nan, math.inf, -1.0, 10**400, "1")),
        (1, 1, 0, b"", 0.1, 7),
        *((1, 1, 6, b"", 0.1, "", after_s) for after_s in (math.nan, math.inf, -1.0, "1")),
        (1, 1),
        7,
    ]
    for row in wrong_rows:
        assert isinstance(await bench.exchange(connection, [row]), RemoteRefusal), row
    wrong_args: list[tuple[Any, ...]] = [(), ([], 1), ([], "1", 0), ([], 1, math.nan), ([], 1, math.inf)]
    for args in (*wrong_args, ([], 1.5, 0), (7, 1, 0)):
        assert isinstance(await bench.ask(connection, "broker", "exchange", *args), RemoteRefusal), args
    assert await bench.exchange(connection, want=10**9) == []
    assert await bench.exchange(connection, want=-1, wait_s=5) == []


@on_bench()
async def test_only_executors_exchange(bench: Bench) -> None:
    """The master refuses an exchange of a client, of a supervisor, and of a connection without a hello."""
    for connection in (bench.client(), bench.worker(), bench.connection()):
        assert "role executor" in str(await bench.exchange(connection))


@on_bench(defaults=DEFAULTS._replace(capacity=50))
async def test_a_task_that_was_lost_runs_alone(bench: Bench) -> None:
    """If an executor dies again, only one task can be the reason; other tasks do not wait for it."""
    client, supervisor, connection = bench.client(), bench.worker(), bench.executor(1)
    await bench.submit(client, 1, [b"a", b"b", b"c"])
    rows = await bench.exchange(connection, want=3)
    exited = {"index": 1, "cause": "killed by SIGKILL", "kind": "signal", "running": rows[0][:2]}
    await bench.ask(supervisor, "broker", "heartbeat", {"exited": [exited]})
    (alone,) = await bench.exchange(bench.executor(2), want=3)
    assert (alone[0], alone[2]) == (rows[0][0], 2)
    others = await bench.exchange(bench.executor(3), want=3)
    assert [(row[0], row[2]) for row in others] == [(row[0], 1) for row in rows[1:]]


@on_bench()
async def test_the_executor_that_was_busy_last_is_served_first(bench: Bench) -> None:
    """Idle executors stay idle; if one executor does not want all ready tasks, the next one gets the rest."""
    bench.worker()
    first, second = bench.executor(1), bench.executor(2)
    assert await bench.exchange(first, want=1, wait_s=50) is WAITING
    assert await bench.exchange(second, want=1, wait_s=50) is WAITING
    client = bench.client()
    await bench.submit(client, 1, [b"a"])
    (row,) = bench.rows(second)
    assert first.waits
    assert await bench.exchange(second, [done(row)], want=1, wait_s=50) is WAITING
    await bench.submit(client, 2, [b"b", b"c"])
    assert [row[4] for row in (*bench.rows(second), *bench.rows(first))] == [b"b", b"c"]


@on_bench()
async def test_a_second_call_of_an_executor_ends_the_wait_of_its_first(bench: Bench) -> None:
    """An executor that runs several tasks settles the first that has ended while it waits for more."""
    bench.worker()
    executor = bench.executor()
    await bench.submit(bench.client(), 1, [b"1"])
    (row,) = await bench.exchange(executor)
    bench.call(executor, "broker", "exchange", [], 1, 60.0)
    await bench.run_until_idle()
    assert executor.answer() is WAITING
    executor.calls += 1
    bench.dispatcher.called_again(cast("ServerConnection", executor))
    assert executor.replies[-1] == NO_TASKS
    executor.calls -= 1
    await bench.exchange(executor, [done(row)])
    assert bench.counts("q") == {"succeeded": 1}


@on_bench()
async def test_an_exchange_does_not_wait_if_the_next_call_has_already_come(bench: Bench) -> None:
    """The second call may arrive before the broker examines the first."""
    bench.worker()
    executor = bench.executor()
    bench.call(executor, "broker", "exchange", [], 1, 60.0)
    executor.calls += 1
    await bench.run_until_idle()
    assert executor.replies[-1] == NO_TASKS
