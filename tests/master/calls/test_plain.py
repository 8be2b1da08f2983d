"""Plain queues: the answers that the `queue.Queue` proxies of standard-library programs get."""

import queue as standard
from datetime import date
from typing import Any

import pytest
from tests.master.bench import DEFAULTS, WAITING, Bench, on_bench

from distq.wire.errors import RemoteRefusal

SMALL = DEFAULTS._replace(capacity=2)


@on_bench()
async def test_items_come_out_in_the_order_they_went_in(bench: Bench) -> None:
    """`put` and `get` work as on a queue.Queue, for any item."""
    connection = bench.connection()
    items = [1, "ü", {"a": [1.5, None]}, date(2026, 1, 2)]
    for item in items:
        assert await bench.ask(connection, "work", "put", item) is None
    assert [await bench.ask(connection, "work", "get") for _ in items] == items


@on_bench()
async def test_every_form_of_the_arguments_is_read(bench: Bench) -> None:
    """Arguments may be positional or keywords, with or without a wait, as queue.Queue accepts them."""
    connection = bench.connection()
    for args, kwds in (((1, True, 5), {}), ((), {"item": 1, "block": False}), ((1,), {"timeout": None})):
        assert await bench.ask(connection, "work", "put", *args, **kwds) is None
    assert await bench.ask(connection, "work", "put_nowait", 1) is None
    assert await bench.ask(connection, "work", "put_nowait", item=1) is None
    forms: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = [
        ("get", (True, 5), {}),
        ("get", (), {"block": False}),
        ("get", (), {"timeout": 0}),
        ("get", (False,), {}),
        ("get_nowait", (), {}),
    ]
    for method, args, kwds in forms:
        assert await bench.ask(connection, "work", method, *args, **kwds) == 1


@on_bench()
async def test_a_get_on_an_empty_queue_raises_empty(bench: Bench) -> None:
    """Without a wait it raises immediately, with a timeout when that is over, and never before."""
    connection = bench.connection()
    for method, kwds in (("get_nowait", {}), ("get", {"block": False}), ("get", {"timeout": 0})):
        assert isinstance(await bench.ask(connection, "work", method, **kwds), standard.Empty)
    assert await bench.ask(connection, "work", "get", timeout=2) is WAITING
    await bench.advance(1.9)
    assert connection.waits
    await bench.advance(0.2)
    assert isinstance(connection.answer(), standard.Empty)


@on_bench()
async def test_a_wrong_timeout_raises_the_error_of_queue_queue(bench: Bench) -> None:
    """The caller gets the error, and the connection goes on."""
    connection = bench.connection()
    for wrong, kind in (
        (-1, ValueError),
        (float("nan"), ValueError),
        ("soon", TypeError),
        (date(2026, 1, 1), TypeError),
    ):
        assert isinstance(await bench.ask(connection, "work", "get", timeout=wrong), kind)
    for endless in (float("inf"), 10**400):
        assert await bench.ask(connection, "work", "get", timeout=endless) is WAITING
        assert await bench.ask(bench.connection(), "work", "put", 1) is None
        assert connection.answer() == 1


@on_bench()
async def test_a_call_with_wrong_arguments_or_an_unknown_method_is_refused(bench: Bench) -> None:
    """`put()` needs an item, and a queue has only the methods of queue.Queue."""
    connection = bench.connection()
    assert "item" in str(await bench.ask(connection, "work", "put"))
    assert "task_done" in str(await bench.ask(connection, "work", "clear"))
    assert await bench.ask(connection, "work", "qsize") == 0


@on_bench()
async def test_a_queue_can_be_printed(bench: Bench) -> None:
    """`str` and `repr` of a proxy return what the standard library returns."""
    assert await bench.ask(bench.connection(), "work", "__repr__") == "<distq queue 'work'>"
    assert await bench.ask(bench.connection(), "result", "__str__") == "<distq queue 'result'>"


@on_bench()
async def test_the_get_that_waits_longest_is_served_first(bench: Bench) -> None:
    """The next puts answer blocked gets in the order of the gets."""
    first, second = bench.connection(), bench.connection()
    assert await bench.ask(first, "work", "get") is WAITING
    assert await bench.ask(second, "work", "get", timeout=60) is WAITING
    await bench.ask(bench.connection(), "work", "put", "a")
    assert (first.answer(), second.waits) == ("a", True)
    await bench.ask(bench.connection(), "work", "put", "b")
    assert second.answer() == "b"
    await bench.advance(120)
    assert second.answer() == "b"


@on_bench(defaults=SMALL)
async def test_a_put_on_a_full_queue_blocks_or_raises_full(bench: Bench) -> None:
    """Without a wait it raises immediately, otherwise when the timeout is over, unless the queue has space before."""
    connection, other = bench.connection(), bench.connection()
    for item in (1, 2):
        await bench.ask(connection, "result", "put", item)
    assert await bench.ask(connection, "result", "full") is True
    for method, kwds in (("put_nowait", {}), ("put", {"block": False}), ("put", {"timeout": 0})):
        assert isinstance(await bench.ask(connection, "result", method, 3, **kwds), standard.Full)
    assert await bench.ask(connection, "result", "put", 3, timeout=1) is WAITING
    assert await bench.ask(other, "result", "put", 4) is WAITING
    await bench.advance(1)
    assert isinstance(connection.answer(), standard.Full)
    assert await bench.ask(connection, "result", "get") == 1
    assert other.answer() is None
    assert [await bench.ask(connection, "result", "get") for _ in "ab"] == [2, 4]


@on_bench()
async def test_the_sizes_of_a_queue_count_the_waiting_items(bench: Bench) -> None:
    """`qsize`, `empty` and `full` count the items that a get can still return."""
    connection = bench.connection()
    assert [await bench.ask(connection, "work", method) for method in ("qsize", "empty", "full")] == [0, True, False]
    for item in range(6):
        await bench.ask(connection, "work", "put", item)
    assert [await bench.ask(connection, "work", method) for method in ("qsize", "empty", "full")] == [6, False, True]
    await bench.ask(connection, "work", "get")
    assert await bench.ask(connection, "work", "qsize") == 5


@on_bench()
async def test_a_disconnected_get_takes_no_item(bench: Bench) -> None:
    """The master forgets a blocked get of a killed program, also if only the socket has noticed the end so far."""
    for role in ("work", "result"):
        disconnected, unreachable, connected = bench.connection(), bench.connection(), bench.connection()
        for connection in (disconnected, unreachable, connected):
            assert await bench.ask(connection, role, "get") is WAITING
        await bench.disconnect(disconnected)
        unreachable.alive = False
        await bench.ask(bench.connection(), role, "put", "a")
        assert (disconnected.replies, unreachable.replies, connected.answer()) == ([], [], "a")
        await bench.disconnect(unreachable)


@on_bench()
async def test_a_disconnected_put_adds_no_item(bench: Bench) -> None:
    """The put was never answered, so its caller knows that the item may be missing."""
    connection, disconnected = bench.connection(), bench.connection()
    for item in range(6):
        await bench.ask(connection, "result", "put", item)
    assert await bench.ask(disconnected, "result", "put", "late") is WAITING
    await bench.disconnect(disconnected)
    assert [await bench.ask(connection, "result", "get") for _ in range(6)] == list(range(6))
    assert await bench.ask(connection, "result", "empty") is True


@on_bench()
async def test_an_item_goes_to_another_worker_when_its_connection_ends(bench: Bench) -> None:
    """A worker that dies before it puts the result costs the item one delivery."""
    await bench.ask(bench.connection(), "work", "put", "a")
    dead, other = bench.connection(), bench.connection()
    assert await bench.ask(dead, "work", "get") == "a"
    assert await bench.ask(other, "work", "get") is WAITING
    await bench.disconnect(dead)
    assert other.answer() == "a"
    assert bench.counters("work", "plain").redeliveries == {"connection": 1}
    assert await bench.ask(other, "result", "put", "b") is None
    assert bench.counts("work") == {}


@on_bench()
async def test_an_item_that_kills_every_worker_is_a_dead_letter(bench: Bench) -> None:
    """After `max_deliveries` the master offers the item no more, and keeps its causes."""
    await bench.ask(bench.connection(), "work", "put", "poison")
    for _ in range(DEFAULTS.max_deliveries):
        connection = bench.connection()
        assert await bench.ask(connection, "work", "get") == "poison"
        await bench.disconnect(connection)
    assert bench.counts("work") == {"dead": 1}
    assert [event for event, *_ in bench.noted] == ["task_lost", "task_lost", "task_buried"]
    (task,) = bench.ledger.state.tasks.values()
    assert task.causes == ["its connection was lost"] * 3


@on_bench()
async def test_the_next_call_of_a_program_settles_its_item(bench: Bench) -> None:
    """A result, `task_done` and the next get each settle the item before."""
    connection = bench.connection()
    for item in "abc":
        await bench.ask(connection, "work", "put", item)
    answers: tuple[tuple[str, str, tuple[Any, ...]], ...] = (
        ("result", "put", ("A",)),
        ("work", "task_done", ()),
        ("work", "get_nowait", ()),
    )
    for left, (ident, method, args) in zip((2, 1, 0), answers, strict=True):
        await bench.ask(connection, "work", "get")
        await bench.ask(connection, ident, method, *args)
        assert bench.queue("work").live == left


@on_bench()
async def test_a_result_and_the_end_of_its_item_are_one_commit(bench: Bench) -> None:
    """A crash can never leave one of them stored without the other."""
    connection = bench.connection()
    await bench.ask(connection, "work", "put", "a")
    await bench.ask(connection, "work", "get")
    bench.store.batches.clear()
    await bench.ask(connection, "result", "put", "A")
    (batch,) = bench.store.batches
    assert sorted(change is None for change in batch.values()) == [False, True]


@on_bench(defaults=SMALL)
async def test_a_refused_result_settles_no_item(bench: Bench) -> None:
    """If the result queue is full or the result is too large, the item stays leased."""
    connection, other = bench.connection(), bench.connection()
    await bench.ask(connection, "work", "put", "a")
    await bench.ask(connection, "work", "get")
    assert isinstance(await bench.ask(connection, "result", "put", "x" * 2000), RemoteRefusal)
    assert bench.counts("work") == {"leased": 1}
    for item in (1, 2):
        await bench.ask(other, "result", "put", item)
    assert isinstance(await bench.ask(connection, "result", "put_nowait", "A"), standard.Full)
    assert bench.counts("work") == {"leased": 1}
    assert await bench.ask(connection, "result", "put", "A") is WAITING
    await bench.ask(other, "result", "get")
    assert connection.answer() is None
    assert bench.counts("work") == {}


@on_bench()
async def test_a_collected_result_ends_once_its_reply_is_written(bench: Bench) -> None:
    """A collector that disconnects afterwards loses no further result."""
    collector = bench.connection()
    await bench.ask(bench.connection(), "result", "put", 4)
    assert await bench.ask(collector, "result", "get") == 4
    await bench.disconnect(collector)
    assert bench.counts("result") == {}
    assert bench.counters("result", "plain").redeliveries == {}


@on_bench()
async def test_a_get_of_a_result_settles_no_work(bench: Bench) -> None:
    """A worker may get results, and call `task_done` for them, while it works on an item."""
    connection = bench.connection()
    await bench.ask(connection, "work", "put", "a")
    await bench.ask(connection, "work", "get")
    await bench.ask(bench.connection(), "result", "put", 1)
    assert await bench.ask(connection, "result", "get") == 1
    assert await bench.ask(connection, "result", "task_done") is None
    assert bench.counts("work") == {"leased": 1}


@on_bench()
async def test_a_task_done_beyond_the_gets_is_an_error(bench: Bench) -> None:
    """The error is that of queue.Queue."""
    connection = bench.connection()
    assert "too many times" in str(await bench.ask(connection, "work", "task_done"))
    await bench.ask(connection, "work", "put", 1)
    await bench.ask(connection, "work", "get")
    assert await bench.ask(connection, "work", "task_done") is None
    assert isinstance(await bench.ask(connection, "work", "task_done"), ValueError)


@on_bench()
async def test_join_waits_until_the_last_item_has_ended(bench: Bench) -> None:
    """A get does not end the wait for an item; the end as a dead letter does."""
    connection, joiner, disconnected = bench.connection(), bench.connection(), bench.connection()
    assert await bench.ask(joiner, "work", "join") is None
    await bench.ask(connection, "work", "put", 1)
    assert await bench.ask(joiner, "work", "join") is WAITING
    assert await bench.ask(disconnected, "work", "join") is WAITING
    await bench.disconnect(disconnected)
    await bench.ask(connection, "work", "get")
    assert joiner.waits
    await bench.ask(connection, "work", "task_done")
    assert joiner.answer() is None
    assert disconnected.replies[1:] == []


@on_bench(plain_lease_s=10.0)
async def test_a_frozen_program_loses_its_item_when_a_lease_is_set(bench: Bench) -> None:
    """DISTQ_PLAIN_LEASE_S limits how long a silent program holds an item; a program that settles in time keeps it."""
    frozen, other = bench.connection(), bench.connection()
    for item in "ab":
        await bench.ask(frozen, "work", "put", item)
    await bench.ask(frozen, "work", "get")
    await bench.advance(9)
    assert await bench.ask(frozen, "work", "get") == "b"
    await bench.advance(9)
    assert await bench.ask(other, "work", "get") is WAITING
    await bench.advance(1)
    assert other.answer() == "b"
    assert bench.counters("work", "plain").redeliveries == {"lease": 1}


@on_bench(plain_lease_s=10.0)
async def test_the_late_result_of_a_thawed_program_still_settles(bench: Bench) -> None:
    """P4: no other program repeats the work; the next item of the program has a full new lease."""
    frozen = bench.connection()
    await bench.ask(frozen, "work", "put", "a")
    await bench.ask(frozen, "work", "get")
    await bench.advance(11)
    assert bench.counts("work") == {"ready": 1}
    assert await bench.ask(frozen, "result", "put", "A") is None
    assert bench.counts("work") == {}
    assert bench.counters("work", "plain").late == {"success": 1}
    await bench.ask(frozen, "work", "put", "b")
    await bench.ask(frozen, "work", "get")
    await bench.advance(9)
    assert bench.counts("work") == {"leased": 1}
    await bench.advance(1)
    assert bench.counts("work") == {"ready": 1}


@on_bench()
async def test_a_plain_get_never_returns_a_task(bench: Bench) -> None:
    """A standard-library program could not run the task."""
    connection = bench.connection()
    await bench.submit(bench.client(), 1, [b"x"], queue="work")
    assert isinstance(await bench.ask(connection, "work", "get_nowait"), standard.Empty)
    await bench.ask(connection, "work", "put", 1)
    assert await bench.ask(connection, "work", "get") == 1


@pytest.mark.parametrize("capacity", [1, 3])
def test_each_of_a_hundred_blocked_puts_succeeds(capacity: int) -> None:
    """Each put gets a place in turn, whatever the number of waiting puts."""

    @on_bench(defaults=DEFAULTS._replace(capacity=capacity))
    async def scene(bench: Bench) -> None:
        connections = [bench.connection() for _ in range(100)]
        for number, connection in enumerate(connections):
            bench.call(connection, "result", "put", number)
        await bench.run_until_idle()
        reader = bench.connection()
        assert [await bench.ask(reader, "result", "get") for _ in connections] == list(range(100))
        assert not any(connection.waits for connection in connections)

    scene()
