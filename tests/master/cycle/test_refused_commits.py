"""Commits that the store refuses for one row: the others are stored, and only the guilty request is refused."""

import pickle
from collections.abc import Callable, Sequence
from typing import Any, Final, cast

import pytest
from structlog.testing import capture_logs
from tests.master.bench import LEASE_S, WAITING, Bench, FakeConnection, done, on_bench, restarted

from distq.core.outcome import Outcome
from distq.core.ports import Batch, CommitRefused, Keep, Row
from distq.core.states import EXPIRED, READY
from distq.core.task_ids import id_text
from distq.master.calls.refused_settlements import NOT_STORED, REFUSALS_MAX
from distq.master.cycle.refused_commits import PAUSE_MAX_S, SEPARATION_S, pause_s
from distq.wire.errors import RemoteRefusal

BAD: Final = b"a body that the constraint forbids"


def holds(bad: bytes) -> Callable[[int, Row], bool]:
    """A constraint that forbids a body with these bytes."""
    return lambda _key, row: row is not None and not isinstance(row[1], Keep) and bad in row[1]


def constrained(bench: Bench) -> None:
    """Let the store refuse each body that contains BAD."""
    bench.store.refuses = holds(BAD)


async def pass_time(bench: Bench, seconds: float) -> None:
    """Let time pass, while the worker renews its leases."""
    while seconds > 0:
        for session in bench.workers.sessions.values():
            supervisor = cast("FakeConnection", session.connection)
            assert isinstance(await bench.ask(supervisor, "broker", "heartbeat", {"busy": 1, "slots": 8}), dict)
        await bench.advance(min(seconds, LEASE_S / 2))
        seconds -= LEASE_S / 2


async def executors(bench: Bench, count: int) -> tuple[list[FakeConnection], list[Any]]:
    """As many executors, each with one leased task."""
    bench.worker()
    connections, rows = [], []
    for number in range(1, count + 1):
        await bench.submit(bench.client(f"c{number}"), 1, [b"%d" % number], queue=f"q{number}")
        connections.append(bench.executor(number))
        rows += await bench.exchange(connections[-1])
    return connections, rows


def settle(bench: Bench, connection: FakeConnection, settled: Sequence[Any], want: int = 0) -> None:
    """Send a settlement, which the next cycle handles."""
    bench.call(connection, "broker", "exchange", settled, want, 0.0)


@pytest.mark.parametrize("guilty", [0, 3, 31])
def test_only_the_guilty_one_of_many_submits_is_refused(guilty: int) -> None:
    """The others are stored in the same cycle, with few commits; the refusal has the store's text."""

    @on_bench()
    async def run(bench: Bench) -> None:
        constrained(bench)
        clients = [bench.client(f"c{number}") for number in range(32)]
        for number, client in enumerate(clients):
            body = BAD if number == guilty else b"good"
            bench.call(client, "broker", "submit", 1, [(f"q{number}", "f")], [(0, 1)], [body], 0.0)
        await bench.cycle()
        for number, client in enumerate(clients):
            if number == guilty:
                assert client.answer()[:2] == (False, "STORE_REFUSED")
                assert "check constraint" in client.answer()[2]
            else:
                assert client.answer()[0] is True
        assert len(bench.store.refused) == 6  # all 32, then halves: 16, 8, 4, 2, 1
        assert bench.broker.refused.suspects == {}

    run()


@on_bench()
async def test_every_kind_of_request_is_stored_beside_a_guilty_submit(bench: Bench) -> None:
    """A put, a settlement, a cancel, a pause, a schedule and a lost connection share the cycle of a refused submit."""
    (executor,), (row,) = await executors(bench, 1)
    client, plain, lost = bench.client("other"), bench.connection(), bench.connection()
    await bench.submit(client, 1, [b"waits"], queue="later")
    await bench.ask(lost, "result", "put", 1)
    operators = [bench.connection("operator") for _ in range(2)]
    for operator in operators:
        bench.hello(operator, "cli", "")
    (waiting,) = [task.task_key for task in bench.ledger.state.tasks.values() if task.envelope.queue.name == "later"]
    constrained(bench)
    guilty, canceller = bench.client("guilty"), bench.client("canceller")
    bench.call(guilty, "broker", "submit", 1, [("q", "f")], [(0, 1)], [BAD], 0.0)
    bench.call(plain, "work", "put", 2)
    settle(bench, executor, [done(row)])
    bench.call(canceller, "broker", "cancel", [waiting], False)
    bench.call(operators[0], "broker", "admin", "pause", {"queue": "later"})
    bench.call(
        operators[1],
        "broker",
        "admin",
        "schedule_put",
        {"name": "s", "body": b"x", "envelope": ("q", "f"), "every": 60.0},
    )
    await bench.run_until_idle()
    assert guilty.answer()[:2] == (False, "STORE_REFUSED")
    assert plain.answer() is None
    assert bench.rows(executor) == []
    assert canceller.answer()["done"] == 1
    assert [isinstance(operator.answer(), dict) for operator in operators] == [True, True]
    assert bench.counts("q1") == {"succeeded": 1}
    assert bench.queue("later").policy.paused


@on_bench()
async def test_a_guilty_result_stalls_no_other_executor(bench: Bench) -> None:
    """The others get their replies in the cycle of the refusal, and go on while the guilty one is tried again."""
    connections, rows = await executors(bench, 8)
    constrained(bench)
    for number, (connection, row) in enumerate(zip(connections, rows, strict=True)):
        settle(bench, connection, [done(row, BAD if number == 5 else b"good")])
    await bench.cycle()
    assert [bench.rows(connection) for connection in connections] == [[] if n != 5 else WAITING for n in range(8)]
    for second in range(10):
        await bench.submit(bench.client(f"later{second}"), 1, [b"x"], queue="q")
        (row,) = await bench.exchange(connections[0])
        refused = len(bench.store.refused)
        assert await bench.exchange(connections[0], [done(row)], want=0) == []
        assert len(bench.store.refused) == refused, "a suspect is committed apart from others"
        await bench.advance(1)
    assert connections[5].waits
    shown = await bench.admin("show", id=id_text(rows[5][0]))
    assert "The store refuses what its executor has settled, and the master tries again: the row" in str(shown)
    assert bench.counts("q6") == {"leased": 1}


@on_bench()
async def test_a_result_that_is_refused_again_and_again_ends_its_task(bench: Bench) -> None:
    """After REFUSALS_MAX attempts with growing pauses the task is a dead letter with the store's text, and ran once."""
    (connection,), (row,) = await executors(bench, 1)
    constrained(bench)
    assert await bench.exchange(connection, [done(row, BAD)], want=0) is WAITING
    for count in range(1, REFUSALS_MAX):
        assert len(bench.store.refused) == count
        await pass_time(bench, pause_s(count) - 0.5)
        assert len(bench.store.refused) == count
        assert connection.waits
        await pass_time(bench, 0.5)
    assert len(bench.store.refused) == REFUSALS_MAX
    assert bench.rows(connection) == []
    assert bench.counts("q1") == {"dead": 1}
    (letter,) = bench.ledger.state.dead.values()
    assert letter.causes is not None
    assert "it had run, but the store refused its return value 6 times: the row violates" in letter.causes[-1]
    assert (letter.failures, letter.lost) == (1, 0)
    assert bench.broker.refused.suspects == {}
    assert NOT_STORED.encode() in (await bench.store.read([row[0]]))[0]  # type: ignore[operator]
    assert (await restarted(bench)).counts("q1") == {"dead": 1}


@on_bench()
async def test_a_result_that_the_store_takes_at_last_is_the_result(bench: Bench) -> None:
    """A constraint that is dropped in time leaves a success; nothing ran twice."""
    (connection,), (row,) = await executors(bench, 1)
    constrained(bench)
    await bench.exchange(connection, [done(row, BAD)], want=0)
    await pass_time(bench, 20)
    bench.store.refuses = lambda _key, _row: False
    await pass_time(bench, PAUSE_MAX_S)
    assert bench.rows(connection) == []
    assert bench.counts("q1") == {"succeeded": 1}
    assert (await bench.store.read([row[0]])) == [pickle.dumps(BAD)]
    assert bench.broker.refused.suspects == {}


@on_bench()
async def test_a_task_whose_every_end_is_refused_stays_pending(bench: Bench) -> None:
    """It is tried once a minute, shows in the sentence of /readyz, and succeeds when the store takes it."""
    (connection,), (row,) = await executors(bench, 1)
    bench.store.refuses = lambda key, _row: key == row[0]
    await bench.exchange(connection, [done(row)], want=0)
    await pass_time(bench, 600)
    tries = len(bench.store.refused)
    await pass_time(bench, 600)
    assert 16 <= len(bench.store.refused) - tries <= 40, "its lease, its result, its failure"
    assert connection.waits
    assert bench.broker.refused.sentence().startswith("The store refuses the content of 2 requests")
    bench.store.refuses = lambda _key, _row: False
    await pass_time(bench, PAUSE_MAX_S)
    assert bench.counts("q1") == {"succeeded": 1}
    assert bench.broker.refused.sentence() == ""


@pytest.mark.parametrize("is_general", [True, False], ids=["full", "unknown"])
def test_a_store_that_refuses_everything_ends_no_task(is_general: bool) -> None:
    """Whether or not the store says so: for an hour nothing is settled, and then everything is, as it was."""

    @on_bench()
    async def run(bench: Bench) -> None:
        connections, rows = await executors(bench, 5)
        commit = bench.store.commit
        commits = 0

        async def refusing(batch: Batch) -> None:
            nonlocal commits
            commits += bool(batch)
            raise CommitRefused("no.", is_general=is_general)

        bench.store.commit = refusing  # type: ignore[method-assign]
        for connection, row in zip(connections, rows, strict=True):
            settle(bench, connection, [done(row)])
        for _ in range(360):
            await bench.advance(10)
        assert commits < 3600 * 8
        assert all(connection.waits for connection in connections)
        bench.store.commit = commit  # type: ignore[method-assign]
        await bench.advance(2)
        assert [bench.rows(connection) for connection in connections] == [[]] * 5
        assert [bench.counts(f"q{number}") for number in range(1, 6)] == [{"succeeded": 1}] * 5

    run()


@on_bench()
async def test_a_full_store_takes_small_results_beside_one_that_has_no_room(bench: Bench) -> None:
    """The store says that it lacks room: the large result waits without an end, the small ones are stored."""
    connections, rows = await executors(bench, 4)
    commit = bench.store.commit

    async def nearly_full(batch: Batch) -> None:
        if any(holds(BAD)(key, row) for key, row in batch.items()):
            raise CommitRefused("no room.", is_general=True)
        await commit(batch)

    bench.store.commit = nearly_full  # type: ignore[method-assign]
    for number, (connection, row) in enumerate(zip(connections, rows, strict=True)):
        settle(bench, connection, [done(row, BAD if number == 1 else None)])
    await bench.cycle()
    assert [bench.rows(connection) for connection in connections] == [[], WAITING, [], []]
    await pass_time(bench, 300)
    assert bench.counts("q2") == {"leased": 1}


@on_bench()
async def test_a_refused_settlement_does_not_keep_the_others_of_its_executor(bench: Bench) -> None:
    """The tasks of one call are stored apart; two guilty ones end as dead letters, and the call gets its reply."""
    bench.worker()
    connection = bench.executor()
    await bench.submit(bench.client(), 1, [b"%d" % number for number in range(6)])
    rows = await bench.exchange(connection, want=6)
    constrained(bench)
    settled = [done(row, BAD if number in (1, 4) else number) for number, row in enumerate(rows)]
    assert await bench.exchange(connection, settled, want=0) is WAITING
    assert bench.counts("q") == {"succeeded": 4, "leased": 2}
    await pass_time(bench, 120)
    assert bench.rows(connection) == []
    assert bench.counts("q") == {"succeeded": 4, "dead": 2}
    assert bench.ledger.unknown_settles == 0
    assert sum(bench.counters("q", "f").late.values()) == 0


@on_bench()
async def test_a_cursor_that_the_store_refuses_ends_its_task(bench: Bench) -> None:
    """The executor learns that it must stop the task; the cursor of another task is stored."""
    bench.worker()
    connection = bench.executor()
    await bench.submit(bench.client(), 1, [b"a", b"b"])
    first, second = await bench.exchange(connection, want=2)
    constrained(bench)
    saved = [(row[0], row[1], Outcome.CHECKPOINT, body, 0.0, "") for row, body in ((first, BAD), (second, b"cursor"))]
    await bench.exchange(connection, saved, want=0)
    assert bench.ledger.state.checkpoints.cursors == {second[0]: b"cursor"}
    await pass_time(bench, 120)
    assert bench.counts("q") == {"dead": 1, "leased": 1}


@on_bench()
async def test_a_lease_that_the_store_refuses_stalls_nothing(bench: Bench) -> None:
    """A row that an operator has deleted cannot be amended: the leases of other tasks are stored."""
    connections, rows = await executors(bench, 4)
    bench.store._rows.pop(rows[2][0])
    await bench.advance(1.5)
    stored = [key for batch in bench.store.batches for key, row in batch.items() if row and isinstance(row[1], Keep)]
    assert {rows[0][0], rows[1][0], rows[3][0]} <= set(stored)
    client = bench.client("other")
    assert (await bench.submit(client, 1, [b"x"]))[0] is True
    assert await bench.exchange(connections[0], [done(rows[0])], want=0) == []
    count = bench.broker.refused.count
    await bench.submit(client, 2, [b"x"])
    assert bench.broker.refused.count == count


@on_bench()
async def test_a_scheduled_run_that_the_store_refuses_is_tried_again_apart(bench: Bench) -> None:
    """Submits of the same cycle are stored; the run is stored when the store takes it."""
    await bench.admin("schedule_put", name="s", body=BAD, envelope=("q", "f"), every=60.0)
    constrained(bench)
    bench.clock.at += 60
    client = bench.client("other")
    assert (await bench.submit(client, 1, [b"x"]))[0] is True
    await pass_time(bench, 30)
    assert bench.broker.refused.suspects != {}
    bench.store.refuses = lambda _key, _row: False
    await pass_time(bench, PAUSE_MAX_S)
    assert bench.broker.refused.suspects == {}


@on_bench()
async def test_slow_refusals_are_spread_over_cycles(bench: Bench) -> None:
    """A time limit of the server makes each refusal slow: requests that come meanwhile are answered in between."""
    connections, rows = await executors(bench, 16)
    constrained(bench)
    commit, slow = bench.store.commit, 0

    async def timed(batch: Batch) -> None:
        nonlocal slow
        try:
            await commit(batch)
        except CommitRefused:
            bench.clock.at += 2 * SEPARATION_S
            slow += 1
            raise

    bench.store.commit = timed  # type: ignore[method-assign]
    for number, (connection, row) in enumerate(zip(connections, rows, strict=True)):
        settle(bench, connection, [done(row, BAD if number == 9 else None)])
    await bench.cycle()
    at = slow
    assert at <= 2, "the cycle's own commit, and one more"
    client = bench.client("other")
    bench.call(client, "broker", "submit", 1, [("q", "f")], [(0, 1)], [b"x"], 0.0)
    await bench.cycle()
    assert client.answer()[0] is True
    assert slow <= at + 1
    await bench.run_until_idle()
    assert [connection.waits for connection in connections] == [number == 9 for number in range(16)]


@on_bench()
async def test_a_refused_commit_is_logged_once_in_ten_seconds_and_counted(bench: Bench) -> None:
    """The line has the store's text and the number of refused commits since the last line."""
    constrained(bench)
    client = bench.client("guilty")
    with capture_logs() as lines:
        for number in range(5):
            bench.call(client, "broker", "submit", number + 1, [("q", "f")], [(0, 1)], [BAD], 0.0)
            await bench.run_until_idle()
        await bench.advance(11)
        bench.call(client, "broker", "submit", 9, [("q", "f")], [(0, 1)], [BAD], 0.0)
        await bench.run_until_idle()
    logged = [line for line in lines if line["event"] == "commit_refused"]
    assert [line["commits"] for line in logged] == [1, 5]
    assert logged[0]["reason"] == "the row violates a check constraint."
    assert bench.broker.refused.count == 6


@on_bench()
async def test_a_put_that_is_refused_does_not_refuse_the_next_one(bench: Bench) -> None:
    """Two plain puts of one cycle: one is stored."""
    first, second = bench.connection(), bench.connection()
    constrained(bench)
    bench.call(first, "work", "put", BAD)
    bench.call(second, "work", "put", b"good")
    await bench.run_until_idle()
    assert isinstance(first.answer(), RemoteRefusal)
    assert second.answer() is None


def of_task(key: int) -> Callable[[int, Row], bool]:
    """A constraint that forbids every further row of this task."""
    return lambda task_key, row: task_key == key and row is not None


@on_bench()
async def test_an_expiry_that_is_refused_does_not_delay_what_else_is_due(bench: Bench) -> None:
    """Other tasks expire and become ready, also later ones; the refused task expires once the store allows it."""
    client = bench.client()

    async def submit(number: int, when: tuple[float | None, None, float | None]) -> int:
        entry = (0, 1, when)
        answer = await bench.ask(client, "broker", "submit", number, [("q", "f")], [entry], [b"x"], 0.0)
        return int(answer[1])

    refused = await submit(1, (None, None, 5.0))
    delayed, expiring = await submit(2, (6.0, None, None)), await submit(3, (None, None, 6.0))
    bench.store.refuses = of_task(refused)
    await bench.advance(7)
    tasks = bench.broker.ledger.state.tasks
    assert [tasks[key].state for key in (refused, delayed, expiring)] == [READY, READY, EXPIRED]
    later = await submit(4, (1.0, None, None))
    await bench.advance(120)
    assert [tasks[key].state for key in (refused, later)] == [READY, READY]
    assert "check constraint" in bench.broker.refused.refusal_of(refused)
    bench.store.refuses = lambda _key, _row: False
    await bench.advance(PAUSE_MAX_S)
    assert tasks[refused].state == EXPIRED
    assert bench.broker.refused.suspects == {}
