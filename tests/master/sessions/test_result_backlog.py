"""P7: results that clients have not fetched cost the master their keys, and bytes only up to a limit."""

import pickle

import pytest
from tests.master.bench import DEFAULTS, WAITING, Bench, FakeConnection, on_bench

from distq.core.states import DEAD, GONE, SUCCEEDED
from distq.core.task_ids import id_text
from distq.master.sessions import clients, result_backlog
from distq.master.sessions.result_backlog import ORDER_SLACK
from distq.wire.errors import RemoteRefusal

LARGE = DEFAULTS._replace(capacity=1000, payload_bytes_max=1 << 20, result_ttl_s=60.0)
RESULT = pickle.dumps(b"x" * 10_000)
BOUND = 50_000


@pytest.fixture(autouse=True)
def _small_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(result_backlog, "BODIES_BYTES_MAX", BOUND)
    for module in (clients, result_backlog):
        monkeypatch.setattr(module, "ROWS_BYTES_MAX", 30_000)
    monkeypatch.setattr(result_backlog, "ROWS_KEPT_MAX", 25)
    monkeypatch.setattr(result_backlog, "ROWS_KEPT_IN_ALL_MAX", 40)


async def run(bench: Bench, client: FakeConnection, number: int, count: int, outcome: int = 0) -> list[int]:
    """Submit tasks, have a worker end them with a large outcome, and return their keys."""
    _, first = await bench.submit(client, number, [b"a"] * count)
    bench.worker()
    connection = bench.executor()
    body = RESULT if outcome == 0 else pickle.dumps(("ValueError", "x" * 10_000, ""))
    for row in await bench.exchange(connection, want=count):
        await bench.exchange(connection, [(row[0], row[1], outcome, body, 0.1, "why")], want=0)
    return list(range(first, first + count))


async def fetch(bench: Bench, client: FakeConnection) -> list[tuple[int, int, bytes | None]]:
    """Read results until there are no more."""
    number = 0
    answer: list[tuple[int, int, bytes | None]] = []
    while True:
        number, rows = await bench.ask(client, "broker", "results", number, 0.0)
        if not rows:
            return answer
        assert sum(len(row[2] or b"") for row in rows) <= 30_000
        answer += [(key, state, body) for key, state, body, _ in rows]


@on_bench(defaults=LARGE)
async def test_p7_results_that_a_sleeping_client_does_not_fetch_are_left_to_the_store(bench: Bench) -> None:
    """Beyond the limit the store reads each body once and in order when the client calls."""
    client = bench.client()
    keys = await run(bench, client, 1, 20)
    assert bench.dispatcher.clients.bodies.bytes <= BOUND
    assert await fetch(bench, client) == [(key, SUCCEEDED, RESULT) for key in keys]
    assert bench.dispatcher.clients.bodies.bytes == 0
    keys = await run(bench, client, 2, 2)
    assert await fetch(bench, client) == [(key, SUCCEEDED, RESULT) for key in keys]


@on_bench(defaults=LARGE)
async def test_replies_stay_below_the_masters_frame_limit(bench: Bench) -> None:
    """Replies with bodies and rows, from memory and from the store; only a single body may exceed the limit."""
    bench.broker.reply_bytes_max = 25_000
    client = bench.client()
    keys = await run(bench, client, 1, 12)
    number, sizes = 0, []
    while True:
        number, rows = await bench.ask(client, "broker", "results", number, 0.0)
        if not rows:
            break
        sizes.append(len(rows))
    assert sizes == [2] * 6
    bench.broker.reply_bytes_max = 1_000
    keys = await run(bench, client, 2, 4)
    assert [key for key, *_ in await fetch(bench, client)] == keys


@on_bench(defaults=LARGE)
async def test_p7_errors_that_a_sleeping_client_does_not_fetch_are_left_to_the_store(bench: Bench) -> None:
    """A dead letter's error is read from its body; after a retry of the letter it is unknown."""
    client = bench.client()
    keys = await run(bench, client, 1, 8, outcome=3)
    assert bench.dispatcher.clients.bodies.bytes <= BOUND
    assert await bench.admin("dead_retry", ids=[id_text(keys[0])])
    answer = await fetch(bench, client)
    assert [(key, state) for key, state, _ in answer] == [(key, DEAD) for key in keys]
    assert all(body is None or b"ValueError" in body for _, _, body in answer)
    assert answer[-1][2] is not None


@on_bench(defaults=LARGE)
async def test_p7_a_client_receives_that_a_result_is_gone_whose_ttl_was_over_before_it_called(bench: Bench) -> None:
    """This occurs only if the master had no room to keep the result."""
    client = bench.client()
    keys = await run(bench, client, 1, 8)
    await bench.advance(61.0)
    answer = await fetch(bench, client)
    assert [key for key, *_ in answer] == keys
    assert {state for _, state, _ in answer} == {SUCCEEDED, GONE}


def bytes_in_memory(bench: Bench) -> dict[str, int]:
    """Return the number of undelivered results of each client whose bodies are in memory, by session."""
    sessions = bench.dispatcher.clients.sessions
    return {key: session.backlog.bytes // len(RESULT) for key, session in sessions.items()}


@on_bench(defaults=LARGE)
async def test_p7_the_results_of_the_client_that_called_longest_ago_are_left_to_the_store_first(bench: Bench) -> None:
    """The client that calls got its first result before the client that sleeps, and keeps all its results."""
    awake, asleep = bench.client("awake"), bench.client("asleep")
    await run(bench, awake, 1, 2)
    await run(bench, asleep, 1, 2)
    number, rows = await bench.ask(awake, "broker", "results", 0, 0.0)
    await run(bench, awake, 2, 2)
    assert bytes_in_memory(bench) == {"awake": 4, "asleep": 0}
    assert [row[2] for row in rows] == [RESULT] * 2
    assert len((await bench.ask(awake, "broker", "results", number, 0.0))[1]) == 2
    assert len(await fetch(bench, asleep)) == 2


@on_bench(defaults=LARGE)
async def test_p7_a_client_that_sleeps_is_not_spared_because_its_results_came_last(bench: Bench) -> None:
    """The order is that of the clients' calls, whenever their results came."""
    asleep, awake = bench.client("asleep"), bench.client("awake")
    await run(bench, awake, 1, 2)
    await bench.ask(awake, "broker", "results", 0, 0.0)
    await run(bench, asleep, 1, 4)
    assert bytes_in_memory(bench) == {"awake": 2, "asleep": 1}


@on_bench(defaults=LARGE)
async def test_p7_a_client_that_waits_for_results_counts_as_calling_now(bench: Bench) -> None:
    """Its request has waited for longer than the other client has slept, and its result is sent from memory."""
    awake, asleep = bench.client("awake"), bench.client("asleep")
    assert await bench.ask(awake, "broker", "results", 0, 30.0) is WAITING
    assert (await bench.ask(asleep, "broker", "results", 0, 0.0))[1] == []
    await run(bench, asleep, 1, 4)
    await run(bench, bench.client("awake"), 1, 1)
    assert bytes_in_memory(bench) == {"awake": 1, "asleep": 0}


@on_bench(defaults=LARGE)
async def test_p7_clients_without_results_in_memory_leave_nothing_in_the_order(bench: Bench) -> None:
    """However many clients have had results, the master remembers the order of the clients that have some."""
    for number in range(3 * ORDER_SLACK):
        client = bench.client(str(number))
        await run(bench, client, 1, 1)
        assert len(await fetch(bench, client)) == 1
        assert len(bench.dispatcher.clients.bodies._by_bytes) <= ORDER_SLACK + 3


@on_bench(defaults=LARGE)
async def test_a_reply_with_read_results_that_was_lost_is_read_again(bench: Bench) -> None:
    """The master sends it again, as it does a reply from memory."""
    client = bench.client()
    keys = await run(bench, client, 1, 8)
    lost = await bench.ask(client, "broker", "results", 0, 0.0)
    await bench.disconnect(client)
    again = bench.client()
    number, rows = await bench.ask(again, "broker", "results", 0, 0.0)
    assert (number, [row[:3] for row in rows[: len(lost[1])]]) == (lost[0], [row[:3] for row in lost[1]])
    assert await fetch_from(bench, again, number, rows) == keys


async def fetch_from(bench: Bench, client: FakeConnection, number: int, rows: list[tuple[int, ...]]) -> list[int]:
    """Return the keys of these rows and of all rows that follow."""
    keys: list[int] = []
    while rows:
        keys += [row[0] for row in rows]
        number, rows = await bench.ask(client, "broker", "results", number, 0.0)
    return keys


@on_bench(defaults=LARGE)
async def test_p7_a_client_that_says_goodbye_leaves_nothing(bench: Bench) -> None:
    """Its tasks go on, other clients can request their results by key, and the store deletes its row."""
    client, asks = bench.client(), bench.client()
    keys = await run(bench, client, 1, 3)
    (key,) = await run(bench, client, 2, 1)
    _, first = await bench.submit(client, 3, [b"a"])
    number, answer = 0, [()]
    while answer:
        number, answer = await bench.ask(asks, "broker", "results", number, 0.0)
    bench.call(asks, "broker", "results", number, 60.0)
    await bench.run_until_idle()
    assert asks.answer() is WAITING
    assert await bench.ask(client, "broker", "goodbye") is None
    assert asks.answer() == (number, [])
    await bench.cycle()
    assert "c" not in bench.dispatcher.clients.sessions
    assert bench.dispatcher.clients.bodies.bytes == 0
    assert not [row for row in bench.store._rows if row < 0]
    connection = bench.executor()
    (row,) = await bench.exchange(connection)
    assert row[0] == first
    await bench.exchange(connection, [(row[0], row[1], 0, RESULT, 0.1, "")], want=0)
    other = bench.client("other")
    reply = await bench.ask(other, "broker", "watch", [*keys, key, first])
    assert {state for _, state, *_ in reply} <= {SUCCEEDED, -1}


@on_bench(defaults=LARGE)
async def test_a_client_that_comes_back_after_its_goodbye_is_a_new_one(bench: Bench) -> None:
    """A forked child may still use the connection: it receives the results of its submits."""
    client = bench.client()
    await run(bench, client, 1, 1)
    assert await bench.ask(client, "broker", "goodbye") is None
    keys = await run(bench, client, 2, 1)
    assert [row[0] for row in await fetch(bench, client)] == keys


@on_bench()
async def test_only_clients_say_goodbye(bench: Bench) -> None:
    """The master refuses any other peer with a message."""
    bench.worker()
    assert isinstance(await bench.ask(bench.executor(), "broker", "goodbye"), RemoteRefusal)


@on_bench(defaults=LARGE)
async def test_p7_ends_that_are_never_fetched_are_bounded_for_each_client(bench: Bench) -> None:
    """A client that always submits and never fetches keeps only the newest ends."""
    client = bench.client()
    newest: list[int] = []
    for number in range(1, 9):
        newest = await run(bench, client, number, 5)
    backlog = bench.dispatcher.clients.sessions["c"].backlog
    assert 12 <= len(backlog.rows) <= 25
    assert [row[0] for row in backlog.rows[-5:]] == newest


@on_bench(defaults=LARGE)
async def test_p7_ends_that_are_never_fetched_are_bounded_over_all_clients(bench: Bench) -> None:
    """Many clients end without reading, with bodies that the store has; the client that calls gets all of its ends."""
    bodies = bench.dispatcher.clients.bodies
    awake = bench.client("awake")
    keys: list[int] = []
    backlogs = []
    for number in range(1, 31):
        keys += await run(bench, awake, number, 1)
        client = bench.client(f"asleep {number}")
        await run(bench, client, 1, 3)
        backlogs.append(bench.dispatcher.clients.sessions[f"asleep {number}"].backlog)
        await bench.disconnect(client)
        assert bodies.row_count <= 40
        assert len(bodies._by_rows) <= 2 * 41 + ORDER_SLACK
        if number % 10 == 0:
            assert sorted(key for key, *_ in await fetch(bench, awake)) == keys
            keys.clear()
    counts = [backlog.row_count for backlog in backlogs]
    assert counts == sorted(counts)
    assert (counts[0], counts[-1], sum(counts)) == (0, 3, bodies.row_count)
