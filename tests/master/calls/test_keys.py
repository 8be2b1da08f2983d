"""Concurrency keys and unique keys, also over refused commits and restarts of the master."""

from typing import Any

import pytest
from tests.master.bench import DEFAULTS, START, WAITING, Bench, done, failed, on_bench, released, restarted

from distq.core.errors import TaskExists
from distq.core.outcome import Outcome
from distq.core.states import CANCELLED, SUCCEEDED
from distq.core.task import BY_CLIENT
from distq.core.task_ids import id_text
from distq.wire.errors import RemoteRefusal

Constraints = tuple[str | None, int | None, str | None, float | None, str]


def concurrency(key: str, limit: int = 1) -> Constraints:
    """The constraints of a task with a concurrency key."""
    return key, limit, None, None, "reject"


def unique(key: str, conflict: str = "reject", for_s: float | None = None) -> Constraints:
    """The constraints of a task with a unique key."""
    return None, None, key, for_s, conflict


async def submit(
    bench: Bench, connection: Any, number: int, *each: Constraints | None, delay_s: float | None = None
) -> Any:
    """Submit one task for each of these constraints."""
    when = None if delay_s is None else (delay_s, None, None)
    runs = [(0, 1, when, constraints) for constraints in each]
    bodies = [b"%d" % index for index in range(len(each))]
    return await bench.ask(connection, "broker", "submit", number, [("q", "f")], runs, bodies, 0.0)


async def lease(bench: Bench, index: int, want: int = 10) -> list[Any]:
    """The rows that a new executor leases, and its connection."""
    connection = bench.executor(index)
    rows = await bench.exchange(connection, want=want)
    return [rows, connection]


# -- concurrency keys ------------------------------------------------------------------------------


@on_bench()
async def test_a_concurrency_key_has_at_most_its_limit_of_tasks_in_flight(bench: Bench) -> None:
    """The other tasks of the key are held, and become ready as these end."""
    bench.worker()
    await submit(bench, bench.client(), 1, *[concurrency("joe", 2)] * 4)
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
    """A task of another key runs, although all tasks of the first key were submitted before it."""
    bench.worker()
    await submit(bench, bench.client(), 1, *[concurrency("loud")] * 3)
    await submit(bench, bench.client("d"), 1, concurrency("quiet"))
    rows, connection = await lease(bench, 1, want=1)
    assert rows[0][4] == b"0"
    rows = await bench.exchange(connection, [done(rows[0])], want=2)
    assert {bench.ledger.state.tasks[row[0]].constraints.concurrency_key for row in rows} == {"loud", "quiet"}
    assert bench.ledger.state.tasks[rows[0][0]].constraints.concurrency_key == "quiet"


@on_bench()
async def test_a_task_that_waits_for_its_retry_lets_the_next_of_its_key_in(bench: Bench) -> None:
    """When its delay is over, it waits behind the held tasks of its key."""
    bench.worker()
    await submit(bench, bench.client(), 1, concurrency("joe"), concurrency("joe"))
    (row,), connection = await lease(bench, 1)
    await bench.exchange(connection, [failed(row)], want=0)
    assert bench.counts("q") == {"delayed": 1, "ready": 1}
    (second,) = await bench.exchange(connection)
    await bench.advance(2)
    assert bench.counts("q") == {"held": 1, "leased": 1}
    await bench.exchange(connection, [done(second)], want=0)
    assert bench.counts("q") == {"ready": 1, "succeeded": 1}


@on_bench()
async def test_a_released_task_runs_before_the_held_tasks_of_its_key(bench: Bench) -> None:
    """A release does not move the task behind the others."""
    bench.worker()
    await submit(bench, bench.client(), 1, concurrency("joe"), concurrency("joe"))
    (row,), connection = await lease(bench, 1)
    (again,) = await bench.exchange(connection, [released(row)])
    assert again[0] == row[0]
    assert bench.counts("q") == {"leased": 1, "held": 1}


@on_bench()
async def test_a_held_task_can_be_cancelled(bench: Bench) -> None:
    """The master never leases the cancelled task."""
    client = bench.client()
    await submit(bench, client, 1, concurrency("joe"), concurrency("joe"), concurrency("joe"))
    keys = list(bench.ledger.state.tasks)
    await bench.ask(client, "broker", "cancel", keys[1:2], False)
    assert bench.counts("q") == {"ready": 1, "held": 1, "cancelled": 1}
    await bench.ask(client, "broker", "cancel", keys[:1], False)
    assert bench.counts("q") == {"ready": 1, "cancelled": 2}
    assert bench.ledger.state.tasks[keys[2]].state == 0


@on_bench()
async def test_p2_a_leased_task_holds_the_others_of_its_key_after_a_restart(bench: Bench) -> None:
    """The executor may still run the task, so the next master keeps the other tasks held."""
    bench.worker()
    await submit(bench, bench.client(), 1, concurrency("joe"), concurrency("joe"), concurrency("ann"))
    await lease(bench, 1, want=1)
    await bench.advance(2)  # now the lease is stored
    again = await restarted(bench)
    assert again.counts("q") == {"leased": 1, "held": 1, "ready": 1}


@on_bench()
async def test_a_refused_commit_makes_no_held_task_ready(bench: Bench) -> None:
    """The refused settle did not end the first task of the key."""
    bench.worker()
    await submit(bench, bench.client(), 1, concurrency("joe"), concurrency("joe"))
    (row,), connection = await lease(bench, 1)
    bench.store.refuse_next = 1
    assert await bench.exchange(connection, [done(row)], want=0) is WAITING
    assert bench.counts("q") == {"leased": 1, "held": 1}
    await bench.advance(1)
    assert bench.counts("q") == {"succeeded": 1, "ready": 1}


# -- unique keys -----------------------------------------------------------------------------------


@on_bench()
async def test_a_second_task_of_a_unique_key_is_rejected_until_the_first_has_ended(bench: Bench) -> None:
    """The other tasks of its submit are accepted, and the answer names the task that has the key."""
    bench.worker()
    client = bench.client()
    assert await submit(bench, client, 1, unique("report")) == (True, 1 << 40 | 1)
    first = 1 << 40 | 1
    answer = await submit(bench, client, 2, None, unique("report"), None)
    assert answer == (True, first + 1, [(1, first, False)])
    assert list(bench.ledger.state.tasks) == [first, first + 1, first + 3]
    assert bench.counters("q", "f").rejected == {"unique": 1}
    (row, *_), connection = await lease(bench, 1)
    assert (await submit(bench, client, 3, unique("report")))[2][0][1] == first
    await bench.exchange(connection, [done(row)], want=0)
    assert len(await submit(bench, client, 4, unique("report"))) == 2


@on_bench()
async def test_a_submit_that_is_sent_again_is_answered_as_before(bench: Bench) -> None:
    """The same master and the next one repeat their first answer, although the key is free by then."""
    bench.worker()
    client = bench.client()
    await submit(bench, client, 1, unique("a"))
    answer = await submit(bench, client, 2, unique("b"), unique("a", "return"))
    assert await submit(bench, client, 2, unique("b"), unique("a", "return")) == answer
    (row, *_), connection = await lease(bench, 1, want=1)
    await bench.exchange(connection, [done(row)], want=0)
    again = await restarted(bench)
    reply = await submit(again, again.client(), 2, unique("b"), unique("a", "return"))
    assert [reply[0], reply[1], [tuple(one) for one in reply[2]]] == list(answer)


@on_bench()
async def test_a_task_that_waits_is_replaced_and_one_that_runs_is_not_stopped(bench: Bench) -> None:
    """In both cases the newest task has the key."""
    bench.worker()
    client = bench.client()
    await submit(bench, client, 1, unique("a", "replace"), delay_s=5.0)
    assert await submit(bench, client, 2, unique("a", "replace"), delay_s=5.0) == (True, (1 << 40) + 2)
    assert bench.counts("q") == {"cancelled": 1, "delayed": 1}
    _, rows = await bench.ask(client, "broker", "results", 0, 1.0)
    assert [(row[1], row[3]) for row in rows] == [(CANCELLED, ["replaced by a newer submit"])]
    assert BY_CLIENT not in rows[0][3]
    await bench.advance(5)
    (row,), connection = await lease(bench, 1)
    await submit(bench, client, 3, unique("a", "replace"))
    assert bench.counts("q") == {"cancelled": 1, "leased": 1, "ready": 1}
    await bench.exchange(connection, [done(row)], want=0)
    assert (await submit(bench, client, 4, unique("a")))[2][0][1] == (1 << 40) + 3, "the old one has let go of nothing"


@on_bench()
async def test_a_task_that_runs_longer_than_the_one_that_replaced_it_has_its_key_again(bench: Bench) -> None:
    """The key is not free while a task with it runs, also after a restart of the master."""
    bench.worker()
    client = bench.client()
    await submit(bench, client, 1, unique("a"))
    (row,), connection = await lease(bench, 1)
    _, newer = await submit(bench, client, 2, unique("a", "replace"))
    for master in (bench, await restarted(bench)):
        await master.ask(master.client("other"), "broker", "cancel", [newer], False)
        _, _, ((_, has_it, _),) = await submit(master, master.client(), 3, unique("a"))
        assert has_it == row[0]
    await bench.exchange(connection, [done(row)], want=0)
    assert len(await submit(bench, client, 4, unique("a"))) == 2
    assert bench.queue("q").replaced == {}


@on_bench()
async def test_a_dead_letter_is_not_requeued_while_another_task_has_its_unique_key(bench: Bench) -> None:
    """The answer names that task; of two dead letters of one key one is requeued, and a submit finds the key in use."""
    bench.worker()
    client = bench.client()
    dead: list[int] = []
    for number in (1, 2):
        _, key = await submit(bench, client, number, unique("report"))
        (row, *_), connection = await lease(bench, 1)
        await bench.exchange(connection, [failed(row, Outcome.FATAL)], want=0)
        dead.append(key)
    _, running = await submit(bench, client, 3, unique("report"))
    admin = bench.connection("cli")
    bench.hello(admin, "cli", "")
    ids = [id_text(key) for key in dead]
    answer = await bench.ask(admin, "broker", "admin", "dead_retry", {"ids": ids})
    assert answer == {"done": 0, "unknown": [], "taken": [(one, id_text(running)) for one in ids]}
    (row, *_), connection = await lease(bench, 1)
    await bench.exchange(connection, [done(row)], want=0)
    answer = await bench.ask(admin, "broker", "admin", "dead_retry", {})
    assert answer == {"done": 1, "unknown": [], "taken": [(ids[1], ids[0])]}
    assert (await submit(bench, client, 4, unique("report")))[2][0][1] == dead[0]


@on_bench()
async def test_a_unique_key_with_a_duration_is_in_use_until_that_is_over(bench: Bench) -> None:
    """The key stays in use after the end of its task and over a restart, and then is free."""
    bench.worker()
    client = bench.client()
    await submit(bench, client, 1, unique("a", for_s=100.0))
    (row,), connection = await lease(bench, 1)
    await bench.exchange(connection, [done(row)], want=0)
    assert (await submit(bench, client, 2, unique("a")))[2] == [(0, row[0], False)]
    again = await restarted(bench)
    assert (await submit(again, again.client("d"), 1, unique("a")))[2] == [(0, row[0], False)]
    await again.advance(100)
    assert len(await submit(again, again.client("d"), 2, unique("a"))) == 2


@on_bench()
async def test_p3_a_result_is_kept_as_long_as_its_unique_key(bench: Bench) -> None:
    """The master keeps the result beyond its TTL, because it finds the key by the task."""
    bench.worker()
    client = bench.client()
    await submit(bench, client, 1, unique("a", for_s=DEFAULTS.result_ttl_s + 50))
    (row,), connection = await lease(bench, 1)
    await bench.exchange(connection, [done(row)], want=0)
    await bench.advance(DEFAULTS.result_ttl_s + 40)
    assert len(await submit(bench, client, 2, unique("a"))) == 3
    await bench.advance(20)
    assert bench.counts("q") == {}
    assert bench.queue("q").unique == {}


@on_bench()
async def test_two_clients_that_submit_a_unique_key_in_one_cycle_share_one_task(bench: Bench) -> None:
    """The master decides the second submit in its next cycle."""
    connections = [bench.client(name) for name in "ab"]
    for connection in connections:
        bench.call(connection, "broker", "submit", 1, [("q", "f")], [(0, 1, None, unique("x", "return"))], [b"1"], 0.0)
    await bench.run_until_idle()
    first, second = (connection.answer() for connection in connections)
    assert second == (True, first[1] + 1, [(0, first[1], True)])
    assert bench.counts("q") == {"ready": 1}


@on_bench()
async def test_each_client_of_a_shared_task_receives_its_result(bench: Bench) -> None:
    """The client that submitted the task and the client that was given it both receive the end."""
    bench.worker()
    one, two = bench.client("one"), bench.client("two")
    _, key = await submit(bench, one, 1, unique("x"))
    await submit(bench, two, 1, unique("x", "return"))
    assert await bench.ask(two, "broker", "watch", [key]) == []
    (row,), connection = await lease(bench, 1)
    await bench.exchange(connection, [done(row, "result")], want=0)
    for client in (one, two):
        _, rows = await bench.ask(client, "broker", "results", 0, 1.0)
        assert [(reply[0], reply[1], reply[2]) for reply in rows] == [(key, SUCCEEDED, done(row, "result")[3])]


@on_bench()
async def test_a_requeued_dead_letter_has_its_unique_key_if_that_is_free(bench: Bench) -> None:
    """If another task has the key, the requeued task has none."""
    bench.worker()
    client = bench.client()
    await submit(bench, client, 1, unique("a"))
    (row,), connection = await lease(bench, 1)
    await bench.exchange(connection, [failed(row, outcome=3)], want=0)
    assert bench.queue("q").holder_of_unique("a", START) is None
    await bench.admin("dead_retry")
    assert (await submit(bench, client, 2, unique("a")))[2] == [(0, row[0], False)]


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
def test_a_submit_with_an_invalid_key_is_refused(constraints: Any) -> None:
    """The master accepts no task of the submit."""

    @on_bench()
    async def scene(bench: Bench) -> None:
        """One bad submit."""
        answer = await submit(bench, bench.client(), 1, constraints)
        assert isinstance(answer, RemoteRefusal)
        assert bench.counts("q") == {}

    scene()


@on_bench()
async def test_one_submit_cannot_have_a_unique_key_twice(bench: Bench) -> None:
    """The error says that the key occurs twice; the master could not decide which task has it."""
    answer = await submit(bench, bench.client(), 1, unique("a"), unique("a"))
    assert isinstance(answer, RemoteRefusal)
    assert "twice" in str(answer)
    assert TaskExists.code not in str(answer)
