"""Cancelling: a waiting task is never leased, a worker stops a running task, and an ended task stays as it is."""

from typing import Any

import pytest
from tests.master.bench import LEASE_S, WAITING, Bench, done, on_bench

from distq.core.states import CANCELLED
from distq.core.task_ids import id_text
from distq.master.admin import cancels, task_list
from distq.wire.errors import RemoteRefusal


async def cancel(bench: Bench, connection: Any, *keys: int, running: bool = False) -> Any:
    """Cancel tasks as a client does."""
    return await bench.ask(connection, "broker", "cancel", list(keys), running)


@on_bench()
async def test_a_task_that_waits_is_cancelled_and_never_leased(bench: Bench) -> None:
    """Its client receives the end, and the queue has room again."""
    client = bench.client()
    _, first = await bench.submit(client, 1, [b"a", b"b"])
    assert await cancel(bench, client, first) == {"done": 1, "running": [], "over": 0}
    assert bench.counts("q") == {"cancelled": 1, "ready": 1}
    bench.worker()
    assert [row[0] for row in await bench.exchange(bench.executor(), want=5)] == [first + 1]
    _, rows = await bench.ask(client, "broker", "results", 0, 1.0)
    assert rows == [(first, CANCELLED, None, ["by its client"])]
    assert bench.counters("q", "f").completed["cancelled"] == 1


@on_bench()
async def test_a_task_that_runs_is_left_alone_unless_that_is_asked(bench: Bench) -> None:
    """With `running`, the waiting heartbeat's reply stops it immediately, and a later answer is too late."""
    supervisor, connection, client = bench.worker(), bench.executor(), bench.client()
    _, first = await bench.submit(client, 1, [b"a"])
    (row,) = await bench.exchange(connection)
    assert await cancel(bench, client, first) == {"done": 0, "running": [id_text(first)], "over": 0}
    bench.call(supervisor, "broker", "heartbeat", {}, 10.0)
    assert supervisor.waits
    assert (await cancel(bench, client, first, running=True))["done"] == 1
    assert supervisor.answer() == {"abort": [(first, row[1])]}
    await bench.exchange(connection, [done(row)], want=0)
    assert bench.counts("q") == {"cancelled": 1}
    assert bench.counters("q", "f").late == {"success": 1}


@on_bench()
async def test_an_absent_worker_receives_the_cancel_when_it_connects_again(bench: Bench) -> None:
    """The reply to the worker's next heartbeat has the order, once."""
    supervisor, connection, client = bench.worker(), bench.executor(), bench.client()
    _, first = await bench.submit(client, 1, [b"a"])
    (row,) = await bench.exchange(connection)
    await bench.disconnect(supervisor)
    await cancel(bench, client, first, running=True)
    again = bench.worker()
    assert await bench.ask(again, "broker", "heartbeat", {}, 10.0) == {"abort": [(first, row[1])]}
    assert await bench.ask(again, "broker", "heartbeat", {}, 10.0) is WAITING


@on_bench()
async def test_heartbeats_wait_no_longer_than_asked_or_until_there_is_more_to_say(bench: Bench) -> None:
    """The master replies to each heartbeat once."""
    supervisor = bench.worker()
    assert await bench.ask(supervisor, "broker", "heartbeat", {}, 10.0) is WAITING
    await bench.advance(10)
    assert supervisor.answer() == {"abort": []}
    assert await bench.ask(supervisor, "broker", "heartbeat", {}, 10.0) is WAITING
    bench.dispatcher.called_again(supervisor)  # type: ignore[arg-type] # a connection of the dispatcher
    assert supervisor.answer() == {"abort": []}
    assert await bench.ask(supervisor, "broker", "heartbeat", {}, 10.0) is WAITING
    await bench.advance(LEASE_S + 1)
    assert supervisor.answer() == {"abort": []}
    assert "hello() with role worker again" in str(await bench.ask(supervisor, "broker", "heartbeat", {}, 10.0))


@on_bench()
async def test_an_operator_cancels_by_id_queue_and_name(bench: Bench) -> None:
    """It cancels thousands in several cycles, and leaves dead letters and results alone."""
    bench.broker.ledger.registry.queue("q").capacity = 10_000
    client = bench.client()
    for number in range(1, 4):
        await bench.submit(client, number, [b"x"] * 1500)
    _, other = await bench.submit(client, 4, [b"y"], queue="other")
    assert await bench.admin("cancel", queue="q", name="g") == {"done": 0, "running": [], "over": 0}
    assert await bench.admin("cancel", queue="q") == {"done": 4500, "running": [], "over": 0}
    assert await bench.admin("cancel", ids=[id_text(other)] * 2) == {"done": 1, "running": [], "over": 0}
    assert await bench.admin("cancel", ids=[id_text(other), "1-1"]) == {"done": 0, "running": [], "over": 2}


def test_a_cancel_of_a_queue_looks_at_a_slice_in_each_cycle(monkeypatch: pytest.MonkeyPatch) -> None:
    """A million tasks delay no other request; a dry run takes the same number of cycles."""
    monkeypatch.setattr(cancels, "SLICE", 7)
    monkeypatch.setattr(task_list, "SLICE", 7)

    @on_bench()
    async def scene(bench: Bench) -> None:
        """One of two queues is cancelled."""
        client = bench.client()
        for name in "pq":
            bench.ledger.registry.queue(name).capacity = 20
        for number in range(1, 11):
            await bench.submit(client, number, [b"x"] * 4, queue="pq"[number % 2])
        for dry_run in (True, False):
            before = bench.broker.cycles
            reply = await bench.admin("cancel", queue="q", dry_run=dry_run)
            assert reply == {"done": 20, "running": [], "over": 0}
            assert bench.broker.cycles - before >= 40 // 7 + (20 // 7 if dry_run else 0)
        assert bench.counts("q") == {"cancelled": 20}
        assert bench.counts("p") == {"ready": 20}

    scene()


@on_bench()
async def test_a_task_that_comes_after_the_request_is_not_cancelled(bench: Bench) -> None:
    """The search ends, however fast other clients submit."""
    client = bench.client()
    _, first = await bench.submit(client, 1, [b"x"])
    operator = bench.connection()
    bench.call(operator, "broker", "admin", "cancel", {"queue": "q"})
    _, late = await bench.submit(client, 2, [b"late"])
    assert operator.answer() == {"done": 1, "running": [], "over": 0}
    assert [bench.ledger.state.tasks[key].state == CANCELLED for key in (first, late)] == [True, False]


@on_bench()
async def test_a_cancel_that_the_store_refuses_has_no_effect(bench: Bench) -> None:
    """The caller receives an error, and no task is stopped."""
    supervisor, connection, client = bench.worker(), bench.executor(), bench.client()
    _, first = await bench.submit(client, 1, [b"a"])
    await bench.exchange(connection)
    bench.store.refuse_next = 2
    assert isinstance(await cancel(bench, client, first, running=True), RemoteRefusal)
    assert bench.counts("q") == {"leased": 1}
    assert await bench.ask(supervisor, "broker", "heartbeat", {}) == {"abort": []}


@on_bench()
async def test_an_invalid_cancel_request_is_refused(bench: Bench) -> None:
    """The request has wrong types, no choice of tasks, or invalid ids."""
    client = bench.client()
    for args in ((), ([1],), ("1", False), ([1.5], False), ([1], 1), ([1] * 20_000, False)):
        assert "cancel(keys, running) takes" in str(await bench.ask(client, "broker", "cancel", *args))
    assert "takes ids, or a queue" in str(await bench.admin("cancel"))
    assert "two hexadecimal numbers" in str(await bench.admin("cancel", ids=["x"]))
