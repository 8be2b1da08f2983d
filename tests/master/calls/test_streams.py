"""What tasks tell as they go: parts of a stream, and cursors that the next attempt goes on from."""

from typing import Any

import pytest
from tests.master.bench import DEFAULTS, WAITING, Bench, FakeConnection, done, failed, on_bench, released, restarted

from distq.core.checkpoints import CURSORS
from distq.core.stream_parts import PART_NUMBER, PARTS, PARTS_MAX
from distq.wire.errors import RemoteRefusal

KEY = 1 << 40 | 1


def part(row: Any, number: int, body: bytes = b"p") -> tuple[Any, ...]:
    """A part of what a leased task streams."""
    return (row[0], row[1], 10, PART_NUMBER.pack(number) + body, 0.0, "")


def cursor(row: Any, body: bytes) -> tuple[Any, ...]:
    """How far a leased task has come."""
    return (row[0], row[1], 9, body, 0.0, "")


async def begun(bench: Bench) -> tuple[FakeConnection, Any]:
    """An executor that runs a task."""
    bench.worker()
    await bench.submit(bench.client(), 1, [b"a"])
    connection = bench.executor()
    (row,) = await bench.exchange(connection)
    return connection, row


async def parts(bench: Bench, first: int = 0, wait_s: float = 0.0, key: int = KEY) -> Any:
    """What somebody is told who asks for parts."""
    operator = bench.connection()
    bench.hello(operator, "cli", "")
    return await bench.ask(operator, "broker", "stream", key, first, wait_s)


def extra_rows(bench: Bench) -> list[int]:
    """Keys of what the store has of streams and cursors."""
    return [key for key in bench.store._rows if key < PARTS]


@on_bench()
async def test_parts_are_given_in_order_as_they_come_and_until_the_result_goes(bench: Bench) -> None:
    """To whoever asks, from any number on."""
    connection, row = await begun(bench)
    assert await parts(bench) == ([], False)
    await bench.exchange(connection, [part(row, 0, b"0"), part(row, 1, b"1")], want=0)
    assert await parts(bench) == ([b"0", b"1"], False)
    await bench.exchange(connection, [part(row, 2, b"2"), done(row)], want=0)
    assert await parts(bench, 1) == ([b"1", b"2"], True)
    assert await parts(bench, 3) == ([], True)
    again = await restarted(bench)
    assert await parts(again) == ([b"0", b"1", b"2"], True)
    await again.advance(DEFAULTS.result_ttl_s)
    assert "does not know task" in str(await parts(again))
    assert extra_rows(again) == []
    assert again.ledger.state.stream_parts.by_task == {}


@on_bench()
async def test_who_waits_for_a_part_is_told_when_it_comes_or_when_none_will(bench: Bench) -> None:
    """And not before."""
    connection, row = await begun(bench)
    guests = [bench.connection() for _ in range(2)]
    for operator in guests:
        bench.hello(operator, "cli", "")
        assert await bench.ask(operator, "broker", "stream", KEY, 0, 20.0) is WAITING
    await bench.exchange(connection, [part(row, 0)], want=0)
    assert [operator.answer() for operator in guests] == [([b"p"], False)] * 2
    assert await bench.ask(guests[0], "broker", "stream", KEY, 1, 20.0) is WAITING
    await bench.exchange(connection, [done(row)], want=0)
    assert guests[0].answer() == ([], True)
    assert bench.dispatcher.streams.waiting == {}
    assert bench.ledger.state.stream_parts.watched == set()


@on_bench()
async def test_a_wait_for_a_part_ends(bench: Bench) -> None:
    """With nothing, and one may ask again."""
    await begun(bench)
    operator = bench.connection()
    bench.hello(operator, "cli", "")
    assert await bench.ask(operator, "broker", "stream", KEY, 0, 5.0) is WAITING
    await bench.advance(5)
    assert operator.answer() == ([], False)
    assert bench.dispatcher.streams.waiting == {}


@on_bench()
async def test_a_later_attempt_takes_the_place_of_no_part_that_is_there(bench: Bench) -> None:
    """Who has read it has read the same; what a lease says that has ended is not heard."""
    connection, row = await begun(bench)
    await bench.exchange(connection, [part(row, 0, b"first"), failed(row)], want=0)
    await bench.exchange(connection, [part(row, 7, b"late")], want=0)
    await bench.advance(5)
    (row,) = await bench.exchange(connection)
    await bench.exchange(connection, [part(row, 0, b"second"), part(row, 1, b"more"), done(row)], want=0)
    assert await parts(bench) == ([b"first", b"more"], True)


@on_bench()
async def test_parts_that_a_store_refuses_come_again(bench: Bench) -> None:
    """Each is there once."""
    connection, row = await begun(bench)
    bench.store.refuse_next = 2
    await bench.exchange(connection, [part(row, 0, b"0"), done(row)], want=0)
    await bench.advance(3)
    assert await parts(bench) == ([b"0"], True)
    assert bench.counts("q") == {"succeeded": 1}


@on_bench()
async def test_a_task_that_streams_without_end_is_a_dead_letter(bench: Bench) -> None:
    """Nothing is unbounded; and its worker is told at once to stop it, also where the store refuses that at first."""
    supervisor = bench.worker()
    await bench.submit(bench.client(), 1, [b"a"])
    connection = bench.executor()
    (row,) = await bench.exchange(connection)
    bench.call(supervisor, "broker", "heartbeat", {}, 60.0)
    bench.store.refuse_next = 1
    bench.call(connection, "broker", "exchange", [part(row, PARTS_MAX - 1), *[part(row, PARTS_MAX)] * 2], 0, 0.0)
    await bench.advance(3)
    assert bench.counts("q") == {"dead": 1}
    assert bench.noted[-1][2] == "it streams more than 10,000 parts"
    assert supervisor.answer() == {"abort": [row[:2]]}


@on_bench()
async def test_an_attempt_is_given_what_the_one_before_has_left(bench: Bench) -> None:
    """The newest cursor, over failures, hand-backs and restarts; and none of it costs an attempt."""
    connection, row = await begun(bench)
    await bench.exchange(connection, [cursor(row, b"1"), cursor(row, b"2"), released(row)], want=0)
    reply = await bench.ask(connection, "broker", "exchange", [], 1, 0.0)
    assert reply[2] == {KEY: b"2"}
    ((key, delivery, attempt, *_),) = reply[1]
    assert (key, attempt) == (KEY, 1)
    await bench.exchange(connection, [cursor((key, delivery), b"3")], want=0)
    again = await restarted(bench)
    again.worker("x")
    reply = await again.ask(again.executor(1, "x"), "broker", "exchange", [], 1, 0.0)
    assert reply[2] == {KEY: b"3"}


@on_bench(defaults=DEFAULTS._replace(payload_bytes_max=10 << 20))
async def test_a_reply_with_parts_fits_a_frame(bench: Bench) -> None:
    """Large ones come one by one."""
    connection, row = await begun(bench)
    for number in range(3):
        await bench.exchange(connection, [part(row, number, bytes(5 << 20))], want=0)
    for number in range(3):
        bodies, over = await parts(bench, number)
        assert ([len(body) for body in bodies], over) == ([5 << 20], False)


@pytest.mark.parametrize(("note", "what"), [(part, "part"), (cursor, "cursor")])
def test_what_a_task_says_that_no_answer_may_carry_is_the_end_of_it(note: Any, what: str) -> None:
    """It is not cut, and not taken for something else."""

    @on_bench()
    async def scene(bench: Bench) -> None:
        """A part, or a cursor, above the limit."""
        connection, row = await begun(bench)
        said = (part(row, 0, bytes(1001)), cursor(row, bytes(1001)))[note is cursor]
        await bench.exchange(connection, [said], want=0)
        assert bench.counts("q") == {"dead": 1}
        assert f"its {what} has 10" in bench.noted[-1][2]
        state = bench.ledger.state
        assert not state.checkpoints.cursors
        assert not state.stream_parts.by_task
        assert not state.stream_parts.watched

    scene()


@on_bench(defaults=DEFAULTS._replace(capacity=100))
async def test_dead_letters_with_many_parts_go_a_few_in_each_cycle(bench: Bench) -> None:
    """No commit is larger than a store takes."""
    bench.worker()
    await bench.submit(bench.client(), 1, [b"a"] * 3)
    connection = bench.executor()
    rows = await bench.exchange(connection, want=3)
    for row in rows:
        await bench.exchange(connection, [part(row, number, b"") for number in range(6000)], want=0)
    await bench.exchange(connection, [failed(row, outcome=3) for row in rows], want=0)
    bench.store.batches.clear()
    assert (await bench.admin("dead_purge"))["done"] == 3
    assert [len(batch) for batch in bench.store.batches if batch] == [6001, 6001, 6001]
    assert extra_rows(bench) == []


@pytest.mark.parametrize("end", ["done", "cancel"])
def test_a_cursor_goes_with_the_end_of_its_task(end: str) -> None:
    """From memory and from the store."""

    @on_bench()
    async def scene(bench: Bench) -> None:
        """One task with a cursor."""
        connection, row = await begun(bench)
        await bench.exchange(connection, [cursor(row, b"1")], want=0)
        assert extra_rows(bench) == [CURSORS - KEY]
        if end == "done":
            await bench.exchange(connection, [cursor(row, b"2"), done(row)], want=0)
        else:
            await bench.ask(bench.client("d"), "broker", "cancel", [KEY], True)
        assert extra_rows(bench) == []
        assert bench.ledger.state.checkpoints.cursors == {}

    scene()


@on_bench()
async def test_a_dead_letter_that_is_tried_again_goes_on_where_it_was(bench: Bench) -> None:
    """Its cursor is kept as long as it is."""
    connection, row = await begun(bench)
    await bench.exchange(connection, [cursor(row, b"1"), failed(row, outcome=3)], want=0)
    await bench.admin("dead_retry")
    assert (await bench.ask(connection, "broker", "exchange", [], 1, 0.0))[2] == {KEY: b"1"}


@pytest.mark.parametrize("args", [(), (KEY,), ("1", 0, 0.0), (KEY, -1, 0.0), (KEY, 0, -1.0), (KEY, 0.5, 0.0)])
def test_what_is_no_request_for_parts_is_refused(args: tuple[Any, ...]) -> None:
    """In words."""

    @on_bench()
    async def scene(bench: Bench) -> None:
        """One call."""
        operator = bench.connection()
        bench.hello(operator, "cli", "")
        assert isinstance(await bench.ask(operator, "broker", "stream", *args), RemoteRefusal)

    scene()
