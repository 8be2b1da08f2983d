"""Parts of streams and cursors: what a task sends while it runs, and what the next attempt gets."""

from typing import Any

import pytest
from tests.master.bench import DEFAULTS, WAITING, Bench, FakeConnection, done, failed, on_bench, released, restarted

from distq.core.checkpoints import CURSORS
from distq.core.stream_parts import PART_NUMBER, PARTS, PARTS_MAX
from distq.wire.errors import RemoteRefusal

KEY = 1 << 40 | 1


def part(row: Any, number: int, body: bytes = b"p") -> tuple[Any, ...]:
    """The row of one part of a leased task's stream."""
    return (row[0], row[1], 10, PART_NUMBER.pack(number) + body, 0.0, "")


def cursor(row: Any, body: bytes) -> tuple[Any, ...]:
    """The row of a leased task's cursor."""
    return (row[0], row[1], 9, body, 0.0, "")


async def begun(bench: Bench) -> tuple[FakeConnection, Any]:
    """The connection of an executor, and the row of the task that it runs."""
    bench.worker()
    await bench.submit(bench.client(), 1, [b"a"])
    connection = bench.executor()
    (row,) = await bench.exchange(connection)
    return connection, row


async def parts(bench: Bench, first: int = 0, wait_s: float = 0.0, key: int = KEY) -> Any:
    """The answer to a request for the parts of a stream."""
    operator = bench.connection()
    bench.hello(operator, "cli", "")
    return await bench.ask(operator, "broker", "stream", key, first, wait_s)


def extra_rows(bench: Bench) -> list[int]:
    """Keys of the stored rows of streams and cursors."""
    return [key for key in bench.store._rows if key < PARTS]


@on_bench()
async def test_a_client_reads_the_parts_of_a_stream_in_order_until_the_result_is_dropped(bench: Bench) -> None:
    """Any client may read, from any number on, also while the task runs."""
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
async def test_a_wait_for_a_part_ends_when_it_comes_or_when_the_stream_has_ended(bench: Bench) -> None:
    """The wait does not end before."""
    connection, row = await begun(bench)
    operators = [bench.connection() for _ in range(2)]
    for operator in operators:
        bench.hello(operator, "cli", "")
        assert await bench.ask(operator, "broker", "stream", KEY, 0, 20.0) is WAITING
    await bench.exchange(connection, [part(row, 0)], want=0)
    assert [operator.answer() for operator in operators] == [([b"p"], False)] * 2
    assert await bench.ask(operators[0], "broker", "stream", KEY, 1, 20.0) is WAITING
    await bench.exchange(connection, [done(row)], want=0)
    assert operators[0].answer() == ([], True)
    assert bench.dispatcher.streams.waiting == {}
    assert bench.ledger.state.stream_parts.watched == set()


@on_bench()
async def test_a_wait_for_a_part_ends_without_parts_after_its_timeout(bench: Bench) -> None:
    """The client may ask again."""
    await begun(bench)
    operator = bench.connection()
    bench.hello(operator, "cli", "")
    assert await bench.ask(operator, "broker", "stream", KEY, 0, 5.0) is WAITING
    await bench.advance(5)
    assert operator.answer() == ([], False)
    assert bench.dispatcher.streams.waiting == {}


@on_bench()
async def test_a_later_attempt_replaces_no_part_of_an_earlier_one(bench: Bench) -> None:
    """All readers get the same parts; the master ignores parts of an ended lease."""
    connection, row = await begun(bench)
    await bench.exchange(connection, [part(row, 0, b"first"), failed(row)], want=0)
    await bench.exchange(connection, [part(row, 7, b"late")], want=0)
    await bench.advance(5)
    (row,) = await bench.exchange(connection)
    await bench.exchange(connection, [part(row, 0, b"second"), part(row, 1, b"more"), done(row)], want=0)
    assert await parts(bench) == ([b"first", b"more"], True)


@on_bench()
async def test_parts_that_the_store_refused_are_stored_later(bench: Bench) -> None:
    """Each part is stored once."""
    connection, row = await begun(bench)
    bench.store.refuse_next = 2
    await bench.exchange(connection, [part(row, 0, b"0"), done(row)], want=0)
    await bench.advance(3)
    assert await parts(bench) == ([b"0"], True)
    assert bench.counts("q") == {"succeeded": 1}


@on_bench()
async def test_a_task_that_streams_without_end_is_a_dead_letter(bench: Bench) -> None:
    """The stream is bounded; the heartbeat tells the worker to stop the task, also after a refused commit."""
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
async def test_an_attempt_gets_the_newest_cursor_of_the_attempts_before(bench: Bench) -> None:
    """The cursor outlives failures, releases and restarts, and costs no attempt."""
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
    """Large parts come one in each reply."""
    connection, row = await begun(bench)
    for number in range(3):
        await bench.exchange(connection, [part(row, number, bytes(5 << 20))], want=0)
    for number in range(3):
        bodies, over = await parts(bench, number)
        assert ([len(body) for body in bodies], over) == ([5 << 20], False)


@pytest.mark.parametrize(("note", "what"), [(part, "part"), (cursor, "cursor")])
def test_a_part_or_a_cursor_above_its_limit_makes_the_task_a_dead_letter(note: Any, what: str) -> None:
    """The master does not cut the part or the cursor."""

    @on_bench()
    async def scene(bench: Bench) -> None:
        """A part, or a cursor, above the limit."""
        connection, row = await begun(bench)
        row_of_report = (part(row, 0, bytes(1001)), cursor(row, bytes(1001)))[note is cursor]
        await bench.exchange(connection, [row_of_report], want=0)
        assert bench.counts("q") == {"dead": 1}
        assert f"its {what} has 10" in bench.noted[-1][2]
        state = bench.ledger.state
        assert not state.checkpoints.cursors
        assert not state.stream_parts.by_task
        assert not state.stream_parts.watched

    scene()


@on_bench(defaults=DEFAULTS._replace(capacity=100))
async def test_each_cycle_drops_a_bounded_number_of_dead_letters_with_parts(bench: Bench) -> None:
    """No commit has more changes than the store accepts."""
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
def test_a_cursor_is_dropped_at_the_end_of_its_task(end: str) -> None:
    """The master drops it from its memory and from the store."""

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
async def test_a_requeued_dead_letter_gets_its_cursor(bench: Bench) -> None:
    """The cursor is kept as long as the dead letter."""
    connection, row = await begun(bench)
    await bench.exchange(connection, [cursor(row, b"1"), failed(row, outcome=3)], want=0)
    await bench.admin("dead_retry")
    assert (await bench.ask(connection, "broker", "exchange", [], 1, 0.0))[2] == {KEY: b"1"}


@pytest.mark.parametrize("args", [(), (KEY,), ("1", 0, 0.0), (KEY, -1, 0.0), (KEY, 0, -1.0), (KEY, 0.5, 0.0)])
def test_a_request_for_parts_with_wrong_arguments_is_refused(args: tuple[Any, ...]) -> None:
    """The answer is an error, and the connection goes on."""

    @on_bench()
    async def scene(bench: Bench) -> None:
        """One call."""
        operator = bench.connection()
        bench.hello(operator, "cli", "")
        assert isinstance(await bench.ask(operator, "broker", "stream", *args), RemoteRefusal)

    scene()
