"""Keys that tasks share: so many of one at once, only one of another; over refused commits and restarts."""

from typing import Any

import pytest
from tests.master.bench import DEFAULTS, START, WAITING, Bench, done, failed, on_bench, released, restarted

from distq.core.errors import TaskExists
from distq.core.outcome import Outcome
from distq.core.states import CANCELLED, SUCCEEDED
from distq.core.task import BY_CLIENT
from distq.core.task_ids import id_text
from distq.wire.errors import RemoteRefusal

More = tuple[str | None, int | None, str | None, float | None, str]


def turn(key: str, at_once: int = 1) -> More:
    """A concurrency key."""
    return key, at_once, None, None, "reject"


def once(key: str, conflict: str = "reject", for_s: float | None = None) -> More:
    """A unique key."""
    return None, None, key, for_s, conflict


async def submit(bench: Bench, connection: Any, number: int, *mores: More | None, delay_s: float | None = None) -> Any:
    """Submit one task for each of these."""
    when = None if delay_s is None else (delay_s, None, None)
    runs = [(0, 1, when, constraints) for constraints in mores]
    bodies = [b"%d" % index for index in range(len(mores))]
    return await bench.ask(connection, "broker", "submit", number, [("q", "f")], runs, bodies, 0.0)


async def lease(bench: Bench, index: int, want: int = 10) -> list[Any]:
    """What an executor is given."""
    connection = bench.executor(index)
    rows = await bench.exchange(connection, want=want)
    return [rows, connection]


# -- concurrency keys ------------------------------------------------------------------------------


@on_bench()
async def test_of_a_key_no_more_run_at_once_than_may(bench: Bench) -> None:
    """The others are held, and come in as those end."""
    bench.worker()
    await submit(bench, bench.client(), 1, *[turn("joe", 2)] * 4)
    assert bench.counts("q") == {"ready": 2, "held": 2}
    (first, second), connection = await lease(bench, 1)
    assert (await lease(bench, 2))[0] == []
    rows = await bench.exchange(connection, [done(first)], want=10)
    assert [row[4] for row in rows] == [b"2"]
    await bench.exchange(connection, [done(second), done(rows[0])], want=0)
    assert bench.counts("q") == {"succeeded": 3, "ready": 1}
    assert len(bench.queue("q").concurrency_keys) == 1
    (last,) = await bench.exchange(connection)
    await bench.exchange(connection, [done(last)], want=0)
    assert len(bench.queue("q").concurrency_keys) == 0, "a key that is not used costs nothing"


@on_bench()
async def test_the_backlog_of_one_key_holds_up_no_other(bench: Bench) -> None:
    """Keys are served in turn, though one came with all its tasks first."""
    bench.worker()
    await submit(bench, bench.client(), 1, *[turn("loud")] * 3)
    await submit(bench, bench.client("d"), 1, turn("quiet"))
    rows, connection = await lease(bench, 1, want=1)
    assert rows[0][4] == b"0"
    rows = await bench.exchange(connection, [done(rows[0])], want=2)
    assert {bench.ledger.state.tasks[row[0]].constraints.concurrency_key for row in rows} == {"loud", "quiet"}
    assert bench.ledger.state.tasks[rows[0][0]].constraints.concurrency_key == "quiet"


@on_bench()
async def test_a_task_that_waits_for_its_retry_lets_the_next_of_its_key_in(bench: Bench) -> None:
    """And stands behind those that wait when its time has come."""
    bench.worker()
    await submit(bench, bench.client(), 1, turn("joe"), turn("joe"))
    (row,), connection = await lease(bench, 1)
    await bench.exchange(connection, [failed(row)], want=0)
    assert bench.counts("q") == {"delayed": 1, "ready": 1}
    (second,) = await bench.exchange(connection)
    await bench.advance(2)
    assert bench.counts("q") == {"held": 1, "leased": 1}
    await bench.exchange(connection, [done(second)], want=0)
    assert bench.counts("q") == {"ready": 1, "succeeded": 1}


@on_bench()
async def test_a_task_that_is_handed_back_keeps_its_place(bench: Bench) -> None:
    """It is the first of its key again."""
    bench.worker()
    await submit(bench, bench.client(), 1, turn("joe"), turn("joe"))
    (row,), connection = await lease(bench, 1)
    (again,) = await bench.exchange(connection, [released(row)])
    assert again[0] == row[0]
    assert bench.counts("q") == {"leased": 1, "held": 1}


@on_bench()
async def test_a_held_task_can_be_cancelled(bench: Bench) -> None:
    """It never comes in."""
    client = bench.client()
    await submit(bench, client, 1, turn("joe"), turn("joe"), turn("joe"))
    keys = list(bench.ledger.state.tasks)
    await bench.ask(client, "broker", "cancel", keys[1:2], False)
    assert bench.counts("q") == {"ready": 1, "held": 1, "cancelled": 1}
    await bench.ask(client, "broker", "cancel", keys[:1], False)
    assert bench.counts("q") == {"ready": 1, "cancelled": 2}
    assert bench.ledger.state.tasks[keys[2]].state == 0


@on_bench()
async def test_p2_a_key_is_as_busy_after_a_restart_as_before(bench: Bench) -> None:
    """What was leased and may still run keeps the others waiting."""
    bench.worker()
    await submit(bench, bench.client(), 1, turn("joe"), turn("joe"), turn("ann"))
    await lease(bench, 1, want=1)
    await bench.advance(2)  # now the lease is stored
    again = await restarted(bench)
    assert again.counts("q") == {"leased": 1, "held": 1, "ready": 1}


@on_bench()
async def test_a_commit_that_is_refused_lets_nobody_in(bench: Bench) -> None:
    """The key is as busy as before."""
    bench.worker()
    await submit(bench, bench.client(), 1, turn("joe"), turn("joe"))
    (row,), connection = await lease(bench, 1)
    bench.store.refuse_next = 1
    assert await bench.exchange(connection, [done(row)], want=0) is WAITING
    assert bench.counts("q") == {"leased": 1, "held": 1}
    await bench.advance(1)
    assert bench.counts("q") == {"succeeded": 1, "ready": 1}


# -- unique keys -----------------------------------------------------------------------------------


@on_bench()
async def test_a_second_task_of_a_unique_key_is_rejected_until_the_first_has_ended(bench: Bench) -> None:
    """The others of its submit are taken, and the answer names who has the key."""
    bench.worker()
    client = bench.client()
    assert await submit(bench, client, 1, once("report")) == (True, 1 << 40 | 1)
    first = 1 << 40 | 1
    answer = await submit(bench, client, 2, None, once("report"), None)
    assert answer == (True, first + 1, [(1, first, False)])
    assert list(bench.ledger.state.tasks) == [first, first + 1, first + 3]
    assert bench.counters("q", "f").rejected == {"unique": 1}
    (row, *_), connection = await lease(bench, 1)
    assert (await submit(bench, client, 3, once("report")))[2][0][1] == first
    await bench.exchange(connection, [done(row)], want=0)
    assert len(await submit(bench, client, 4, once("report"))) == 2


@on_bench()
async def test_a_submit_that_is_sent_again_is_answered_as_before(bench: Bench) -> None:
    """By the same master, and by the next one, though the key is free by then."""
    bench.worker()
    client = bench.client()
    await submit(bench, client, 1, once("a"))
    answer = await submit(bench, client, 2, once("b"), once("a", "return"))
    assert await submit(bench, client, 2, once("b"), once("a", "return")) == answer
    (row, *_), connection = await lease(bench, 1, want=1)
    await bench.exchange(connection, [done(row)], want=0)
    again = await restarted(bench)
    reply = await submit(again, again.client(), 2, once("b"), once("a", "return"))
    assert [reply[0], reply[1], [tuple(one) for one in reply[2]]] == list(answer)


@on_bench()
async def test_a_task_that_waits_is_replaced_and_one_that_runs_is_not_stopped(bench: Bench) -> None:
    """Either way the newest has the key."""
    bench.worker()
    client = bench.client()
    await submit(bench, client, 1, once("a", "replace"), delay_s=5.0)
    assert await submit(bench, client, 2, once("a", "replace"), delay_s=5.0) == (True, (1 << 40) + 2)
    assert bench.counts("q") == {"cancelled": 1, "delayed": 1}
    _, rows = await bench.ask(client, "broker", "results", 0, 1.0)
    assert [(row[1], row[3]) for row in rows] == [(CANCELLED, ["replaced by a newer submit"])]
    assert BY_CLIENT not in rows[0][3]
    await bench.advance(5)
    (row,), connection = await lease(bench, 1)
    await submit(bench, client, 3, once("a", "replace"))
    assert bench.counts("q") == {"cancelled": 1, "leased": 1, "ready": 1}
    await bench.exchange(connection, [done(row)], want=0)
    assert (await submit(bench, client, 4, once("a")))[2][0][1] == (1 << 40) + 3, "the old one has let go of nothing"


@on_bench()
async def test_a_task_that_runs_longer_than_the_one_that_replaced_it_has_its_key_again(bench: Bench) -> None:
    """Also in the next master: while a task of the key runs, the key is not free."""
    bench.worker()
    client = bench.client()
    await submit(bench, client, 1, once("a"))
    (row,), connection = await lease(bench, 1)
    _, newer = await submit(bench, client, 2, once("a", "replace"))
    for place in (bench, await restarted(bench)):
        await place.ask(place.client("other"), "broker", "cancel", [newer], False)
        _, _, ((_, has_it, _),) = await submit(place, place.client(), 3, once("a"))
        assert has_it == row[0]
    await bench.exchange(connection, [done(row)], want=0)
    assert len(await submit(bench, client, 4, once("a"))) == 2
    assert bench.queue("q").replaced == {}


@on_bench()
async def test_a_dead_letter_is_not_tried_again_while_another_task_has_its_unique_key(bench: Bench) -> None:
    """The operator hears of which; of two dead letters of one key one is tried again; a submit finds the key taken."""
    bench.worker()
    client = bench.client()
    dead: list[int] = []
    for number in (1, 2):
        _, key = await submit(bench, client, number, once("report"))
        (row, *_), connection = await lease(bench, 1)
        await bench.exchange(connection, [failed(row, Outcome.FATAL)], want=0)
        dead.append(key)
    _, running = await submit(bench, client, 3, once("report"))
    admin = bench.connection("cli")
    bench.hello(admin, "cli", "")
    ids = [id_text(key) for key in dead]
    answer = await bench.ask(admin, "broker", "admin", "dead_retry", {"ids": ids})
    assert answer == {"done": 0, "unknown": [], "taken": [(one, id_text(running)) for one in ids]}
    (row, *_), connection = await lease(bench, 1)
    await bench.exchange(connection, [done(row)], want=0)
    answer = await bench.ask(admin, "broker", "admin", "dead_retry", {})
    assert answer == {"done": 1, "unknown": [], "taken": [(ids[1], ids[0])]}
    assert (await submit(bench, client, 4, once("report")))[2][0][1] == dead[0]


@on_bench()
async def test_a_unique_key_for_a_time_is_kept_though_its_task_has_ended(bench: Bench) -> None:
    """And over a restart; then it is free."""
    bench.worker()
    client = bench.client()
    await submit(bench, client, 1, once("a", for_s=100.0))
    (row,), connection = await lease(bench, 1)
    await bench.exchange(connection, [done(row)], want=0)
    assert (await submit(bench, client, 2, once("a")))[2] == [(0, row[0], False)]
    again = await restarted(bench)
    assert (await submit(again, again.client("d"), 1, once("a")))[2] == [(0, row[0], False)]
    await again.advance(100)
    assert len(await submit(again, again.client("d"), 2, once("a"))) == 2


@on_bench()
async def test_p3_a_key_that_is_kept_for_longer_than_results_keeps_its_result_as_long(bench: Bench) -> None:
    """It is known by it."""
    bench.worker()
    client = bench.client()
    await submit(bench, client, 1, once("a", for_s=DEFAULTS.result_ttl_s + 50))
    (row,), connection = await lease(bench, 1)
    await bench.exchange(connection, [done(row)], want=0)
    await bench.advance(DEFAULTS.result_ttl_s + 40)
    assert len(await submit(bench, client, 2, once("a"))) == 3
    await bench.advance(20)
    assert bench.counts("q") == {}
    assert bench.queue("q").unique == {}


@on_bench()
async def test_two_clients_that_submit_at_once_have_one_task(bench: Bench) -> None:
    """Whoever comes second in one cycle is decided in the next."""
    connections = [bench.client(name) for name in "ab"]
    for connection in connections:
        bench.call(connection, "broker", "submit", 1, [("q", "f")], [(0, 1, None, once("x", "return"))], [b"1"], 0.0)
    await bench.run_until_idle()
    first, second = (connection.answer() for connection in connections)
    assert second == (True, first[1] + 1, [(0, first[1], True)])
    assert bench.counts("q") == {"ready": 1}


@on_bench()
async def test_who_is_given_another_ones_task_hears_of_its_end_too(bench: Bench) -> None:
    """Both do, and each has the result."""
    bench.worker()
    one, two = bench.client("one"), bench.client("two")
    _, key = await submit(bench, one, 1, once("x"))
    await submit(bench, two, 1, once("x", "return"))
    assert await bench.ask(two, "broker", "watch", [key]) == []
    (row,), connection = await lease(bench, 1)
    await bench.exchange(connection, [done(row, "result")], want=0)
    for client in (one, two):
        _, rows = await bench.ask(client, "broker", "results", 0, 1.0)
        assert [(reply[0], reply[1], reply[2]) for reply in rows] == [(key, SUCCEEDED, done(row, "result")[3])]


@on_bench()
async def test_a_dead_letter_that_is_tried_again_has_its_key_again_if_that_is_free(bench: Bench) -> None:
    """If not, it goes without."""
    bench.worker()
    client = bench.client()
    await submit(bench, client, 1, once("a"))
    (row,), connection = await lease(bench, 1)
    await bench.exchange(connection, [failed(row, outcome=3)], want=0)
    assert bench.queue("q").holder_of_unique("a", START) is None
    await bench.admin("dead_retry")
    assert (await submit(bench, client, 2, once("a")))[2] == [(0, row[0], False)]


@pytest.mark.parametrize(
    "constraints",
    [
        ("k" * 65, 1, None, None, "reject"),
        ("k", 0, None, None, "reject"),
        ("k", True, None, None, "reject"),
        (None, None, "u", -1.0, "reject"),
        (None, None, "u", None, "maybe"),
        (None, None, 7, None, "reject"),
        ("k",),
    ],
)
def test_keys_that_cannot_be_are_refused_in_words(constraints: Any) -> None:
    """Nothing is taken."""

    @on_bench()
    async def scene(bench: Bench) -> None:
        """One bad submit."""
        answer = await submit(bench, bench.client(), 1, constraints)
        assert isinstance(answer, RemoteRefusal)
        assert bench.counts("q") == {}

    scene()


@on_bench()
async def test_one_submit_cannot_have_a_unique_key_twice(bench: Bench) -> None:
    """Nobody could say which of the two is the one."""
    answer = await submit(bench, bench.client(), 1, once("a"), once("a"))
    assert isinstance(answer, RemoteRefusal)
    assert "twice" in str(answer)
    assert TaskExists.code not in str(answer)
