"""Operators' requests about dead letters, through the broker's cycle."""

import pickle
from typing import Any

import pytest
from tests.master.bench import DEFAULTS, Bench, FakeConnection, done, failed, on_bench, restarted

from distq.core.task_ids import id_text
from distq.master.admin import dead_letter_filter
from distq.master.admin.dead_letters import DECIDED_PER_CYCLE
from distq.wire.errors import RemoteRefusal


async def make_dead(bench: Bench, count: int = 1, queue: str = "q", number: int = 1) -> list[str]:
    """Have this number of tasks fail for good, and return their ids."""
    before = {row["id"] for row in (await bench.admin("dead_list", limit=10_000))["tasks"]}
    await bench.submit(bench.client(queue), number, [b"args %d" % n for n in range(count)], queue=queue)
    bench.worker()
    connection = bench.executor()
    rows = await bench.exchange(connection, want=count)
    await bench.exchange(connection, [failed(row, 3) for row in rows], want=0)
    await bench.disconnect(connection)
    found = await bench.admin("dead_list", limit=10_000)
    return [row["id"] for row in reversed(found["tasks"]) if row["id"] not in before]


def operator(bench: Bench) -> FakeConnection:
    """Return a command's connection."""
    connection = bench.connection("operator")
    bench.hello(connection, "cli", "")
    return connection


@on_bench()
async def test_a_dead_letter_is_shown_with_all_that_is_known_of_it(bench: Bench) -> None:
    """The reply has payload and error as bytes, the causes decoded, and the number of attempts."""
    (ident,) = await make_dead(bench)
    (row,) = (await bench.admin("dead_list"))["tasks"]
    shown = await bench.admin("dead_show", id=ident)
    assert {**row, "payload": b"args 0", "error": pickle.dumps(("ValueError", "no", "Traceback ..."))} == shown
    assert (row["queue"], row["name"], row["failures"], row["lost"]) == ("q", "f", 1, 0)
    assert row["causes"] == ["ValueError: no"]


@on_bench(defaults=DEFAULTS._replace(capacity=100))
async def test_dead_letters_are_listed_newest_first_by_queue_and_name(bench: Bench) -> None:
    """`limit` limits the list, but not `total`."""
    first = await make_dead(bench, 3)
    second = await make_dead(bench, 2, "other")
    listed = await bench.admin("dead_list", queue="q", limit=2)
    assert (listed["total"], [row["id"] for row in listed["tasks"]]) == (3, first[:0:-1])
    assert [row["id"] for row in (await bench.admin("dead_list"))["tasks"]] == (first + second)[::-1]
    assert (await bench.admin("dead_list", name="g"))["total"] == 0


@on_bench(defaults=DEFAULTS._replace(capacity=100))
async def test_a_list_of_dead_letters_continues_after_the_last_one(bench: Bench) -> None:
    """Pages join without a gap; one that was retried or purged meanwhile is no place to continue."""
    newest_first = (await make_dead(bench, 5))[::-1]
    first = await bench.admin("dead_list", limit=2)
    second = await bench.admin("dead_list", limit=2, after=first["next"])
    third = await bench.admin("dead_list", limit=2, after=second["next"])
    assert [row["id"] for page in (first, second, third) for row in page["tasks"]] == newest_first
    assert (first["next"], second["next"], third["next"]) == (newest_first[1], newest_first[3], None)
    assert first["total"] == third["total"] == 5
    await bench.admin("dead_purge", ids=[newest_first[1]])
    assert "no longer a dead letter" in str(await bench.admin("dead_list", after=newest_first[1]))


@on_bench()
async def test_the_named_dead_letters_are_counted_before_a_purge(bench: Bench) -> None:
    """`dry_run` with ids replies which of them are no dead letters, and changes nothing."""
    first, second = await make_dead(bench, 2)
    answer = await bench.admin("dead_purge", ids=[first, "1-ffff"], dry_run=True)
    assert answer == {"done": 1, "unknown": ["1-ffff"], "counts": []}
    assert [row["id"] for row in (await bench.admin("dead_list"))["tasks"]] == [second, first]


@on_bench()
async def test_a_queue_that_does_not_exist_is_an_error_of_each_request(bench: Bench) -> None:
    """An operator who mistypes a queue does not read that it has no dead letters."""
    await make_dead(bench, queue="mail")
    for what in ("dead_list", "dead_retry", "dead_purge"):
        refusal = await bench.admin(what, queue="mial")
        assert str(refusal) == "there is no queue 'mial'; did you mean 'mail'?", what


@on_bench()
async def test_a_retried_dead_letter_has_all_its_attempts_again(bench: Bench) -> None:
    """Its body has its arguments again, its causes are kept, and a success of the new run counts."""
    (ident,) = await make_dead(bench)
    assert await bench.admin("dead_retry", ids=[ident]) == {"done": 1, "unknown": []}
    assert bench.counts("q") == {"ready": 1}
    assert (await bench.admin("dead_list"))["total"] == 0
    connection = bench.executor()
    (row,) = await bench.exchange(connection)
    assert (row[2], row[4]) == (1, b"args 0")
    await bench.exchange(connection, [failed(row)], want=0)
    assert bench.counts("q") == {"delayed": 1}
    await bench.advance(5)
    (row,) = await bench.exchange(connection)
    await bench.exchange(connection, [failed(row)], want=0)
    ((row),) = (await bench.admin("dead_list"))["tasks"]
    assert row["causes"] == ["ValueError: no"] * 3


@on_bench()
async def test_a_late_success_does_not_raise_the_dead_but_the_retried(bench: Bench) -> None:
    """The delivery before its death may settle the task only after a retry."""
    await bench.submit(bench.client(), 1, [b"x"])
    bench.worker()
    connection = bench.executor()
    (row,) = await bench.exchange(connection)
    await bench.exchange(connection, [failed(row, 3)], want=0)
    await bench.exchange(connection, [done(row)], want=0)
    assert bench.counts("q") == {"dead": 1}
    await bench.admin("dead_retry")
    await bench.exchange(connection, [done(row)], want=0)
    assert bench.counts("q") == {"succeeded": 1}


@on_bench(defaults=DEFAULTS._replace(capacity=3 * DECIDED_PER_CYCLE))
async def test_many_dead_letters_are_requeued_or_purged_in_several_cycles(bench: Bench) -> None:
    """They are settled in the order in which they died; one reply has their number."""
    ids = await make_dead(bench, 2 * DECIDED_PER_CYCLE + 1)
    bench.store.batches.clear()
    assert await bench.admin("dead_retry", queue="q", name="f") == {"done": len(ids), "unknown": []}
    assert [len(batch) for batch in bench.store.batches] == [DECIDED_PER_CYCLE, DECIDED_PER_CYCLE, 1]
    rows = await bench.exchange(bench.executor(), want=len(ids))
    assert [row[4] for row in rows] == [b"args %d" % n for n in range(len(ids))]


@on_bench()
async def test_a_purged_dead_letter_is_gone_and_its_room_is_free(bench: Bench) -> None:
    """The reply names ids that are no dead letters; an id that is given twice is purged once."""
    first, second, third = await make_dead(bench, 3)
    answer = await bench.admin("dead_purge", ids=[second, first, "1-ffff", second])
    assert answer == {"done": 2, "unknown": ["1-ffff"]}
    assert [row["id"] for row in (await bench.admin("dead_list"))["tasks"]] == [third]
    assert bench.counts("q") == {"dead": 1}
    assert isinstance(await bench.admin("dead_show", id=first), RemoteRefusal)


@on_bench()
async def test_a_requeue_that_the_store_refuses_has_no_effect(bench: Bench) -> None:
    """The operator receives an error and may repeat the request."""
    (ident,) = await make_dead(bench)
    for what in ("dead_retry", "dead_purge"):
        bench.store.refuse_next = 1
        assert "the disk is full" in str(await bench.admin(what, ids=[ident]))
        assert bench.counts("q") == {"dead": 1}
    assert await bench.admin("dead_retry", ids=[ident]) == {"done": 1, "unknown": []}


@on_bench()
async def test_the_master_reads_a_dead_letter_from_the_store_before_its_requeue(bench: Bench) -> None:
    """This is the state after a restart, when the ledger has only the heads."""
    (ident,) = await make_dead(bench)
    for task in bench.ledger.state.dead.values():
        task.body = None
    assert (await bench.admin("dead_show", id=ident))["payload"] == b"args 0"
    for task in bench.ledger.state.dead.values():
        task.body = None
    assert (await bench.admin("dead_retry"))["done"] == 1
    assert [row[4] for row in await bench.exchange(bench.executor())] == [b"args 0"]


@on_bench()
async def test_an_unknown_request_is_refused_with_an_error(bench: Bench) -> None:
    """The connection stays usable."""
    connection = operator(bench)
    questions: tuple[tuple[Any, ...], ...] = (
        ("dead_rise", {}),
        ("dead_list", 5),
        ("dead_list", {"limit": 0}),
        ("dead_list", {"limit": "9"}),
        ("dead_show", {}),
        ("dead_retry", {"ids": "1-1"}),
        ("dead_retry", {"ids": ["x"]}),
        ("dead_purge", {"ids": [[]]}),
        ("dead_show", {"id": "1-1"}),
        (),
    )
    for args in questions:
        assert isinstance(await bench.ask(connection, "broker", "admin", *args), RemoteRefusal), args
    assert (await bench.ask(connection, "broker", "admin", "dead_list"))["total"] == 0


@on_bench()
async def test_the_causes_of_a_dead_letter_are_listed_and_kept_after_a_restart(bench: Bench) -> None:
    """After a restart only the store has the causes and the payload."""
    (ident,) = await make_dead(bench)
    for task in bench.ledger.state.dead.values():
        task.body = task.causes = None
    (listed,) = (await bench.admin("dead_list"))["tasks"]
    assert (listed["id"], listed["causes"]) == (ident, ["ValueError: no"])
    await bench.submit(bench.client(), 2, [b"second"])
    connection = bench.executor(2)
    (row,) = await bench.exchange(connection)
    bench.ledger.state.cache.hold(bench.ledger.state.tasks[row[0]], None)
    await bench.exchange(connection, [failed(row, 3)], want=0)
    assert (await bench.admin("dead_show", id=id_text(row[0])))["payload"] == b"second"


@on_bench()
async def test_a_dead_letter_may_be_purged_while_it_is_looked_at(bench: Bench) -> None:
    """The command that shows it receives an error; the master goes on."""
    (ident,) = await make_dead(bench)
    looking, going = operator(bench), operator(bench)
    bench.call(looking, "broker", "admin", "dead_show", {"id": ident})
    bench.call(going, "broker", "admin", "dead_purge", {"ids": [ident]})
    await bench.run_until_idle()
    assert "no longer" in str(looking.answer())
    assert going.answer()["done"] == 1


async def make_dead_as(bench: Bench, cause: str, outcome: int = 3) -> str:
    """Have one task fail for good with that cause, and return its id."""
    _, key = await bench.submit(bench.client(f"{cause} {bench.clock.at}"), 1, [b"x"])
    bench.worker()
    connection = bench.executor()
    (row,) = await bench.exchange(connection)
    await bench.exchange(connection, [failed(row, outcome, cause)], want=0)
    if outcome != 3:
        await bench.advance(2)
        (row,) = await bench.exchange(connection)
        await bench.exchange(connection, [failed(row, outcome, cause)], want=0)
    await bench.disconnect(connection)
    return id_text(key)


@on_bench()
async def test_dead_letters_are_chosen_by_their_error_and_by_when_they_died(bench: Bench) -> None:
    """This also works after a restart, when only their bodies have the errors."""
    value = await make_dead_as(bench, "ValueError: no")
    await bench.advance(100)
    key = await make_dead_as(bench, "KeyError: 'x'")
    limit = await make_dead_as(bench, "exceeded time limit 5 s", outcome=5)
    bare = await make_dead_as(bench, "ValueError")
    later = bench.clock.at - 50

    async def ids(bench: Bench, **options: Any) -> list[str]:
        return [row["id"] for row in reversed((await bench.admin("dead_list", **options))["tasks"])]

    for master in (bench, await restarted(bench)):
        assert await ids(master, error="ValueError") == [value, bare]
        assert await ids(master, error="builtins:ValueError") == [value, bare]
        assert await ids(master, error="my.errors.KeyError") == [key]
        assert await ids(master, error="timeout") == [limit]
        assert await ids(master, error="lost") == []
        assert await ids(master, since=later) == [key, limit, bare]
        assert await ids(master, until=later, error="KeyError") == []
        assert await ids(master, until=later) == [value]


@on_bench()
async def test_a_dry_run_counts_the_dead_letters_and_changes_none(bench: Bench) -> None:
    """The real run then settles the dead letters that the dry run counted."""
    for cause in ("ValueError: a", "ValueError: b", "KeyError: c"):
        await make_dead_as(bench, cause)
    again = await restarted(bench)
    reply = await again.admin("dead_retry", error="ValueError", dry_run=True)
    assert reply == {"done": 2, "unknown": [], "counts": [("q", "f", "ValueError", 2)]}
    assert again.counts("q") == {"dead": 3}
    reply = await (await restarted(again)).admin("dead_purge", dry_run=True)
    assert reply["counts"][0] == ("q", "f", "ValueError", 2)
    assert (await again.admin("dead_retry", error="ValueError"))["done"] == 2
    assert again.counts("q") == {"dead": 1, "ready": 2}
    assert (await again.admin("dead_purge", error="KeyError"))["done"] == 1


@on_bench()
async def test_a_task_that_was_lost_repeatedly_matches_the_error_lost(bench: Bench) -> None:
    """The last cause of the task does not matter."""
    _, key = await bench.submit(bench.client(), 1, [b"x"])
    for number in range(DEFAULTS.max_deliveries):
        bench.worker(f"w{number}")
        connection = bench.executor(1, f"w{number}")
        await bench.exchange(connection)
        ended = {"exited": [{"index": 1, "cause": "killed by SIGKILL", "kind": "signal", "running": (key, number + 1)}]}
        await bench.ask(bench.worker(f"w{number}"), "broker", "heartbeat", ended)
    assert (await bench.admin("dead_list", error="lost"))["total"] == 1
    assert (await bench.admin("dead_list", error="killed by SIGKILL"))["total"] == 0


@on_bench()
async def test_a_choice_that_cannot_be_is_refused(bench: Bench) -> None:
    """The master refuses invalid conditions with a message."""
    for options in ({"error": 7}, {"since": "yesterday"}, {"until": True}, {"since": float("nan")}, {"queue": 1}):
        assert isinstance(await bench.admin("dead_list", **options), RemoteRefusal)


@pytest.mark.parametrize("size", [1, 2, 3, 100])
def test_a_search_of_dead_letters_examines_a_slice_in_each_cycle(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lists, counts and retries are the same for each size of the slices; a million of them delay no other request."""
    monkeypatch.setattr(dead_letter_filter, "EXAMINED_PER_CYCLE", size)

    @on_bench(defaults=DEFAULTS._replace(retries=0, capacity=100))
    async def scene(bench: Bench) -> None:
        """Seven dead letters, of two queues in turn."""
        bench.worker()
        connection = bench.executor()
        for number in range(7):
            await bench.submit(bench.client(f"c{number}"), 1, [b"x"], queue=f"q{number % 2}")
            (row,) = await bench.exchange(connection)
            await bench.exchange(connection, [failed(row)], want=0)
        newest = [id_text(key) for key in reversed(bench.ledger.state.dead)]
        before = bench.broker.cycles
        page = await bench.admin("dead_list", queue="q0", limit=2)
        assert (bench.broker.cycles - before > 6) is (size == 1)
        assert (page["total"], [row["id"] for row in page["tasks"]]) == (4, [newest[0], newest[2]])
        assert page["next"] == newest[2]
        page = await bench.admin("dead_list", queue="q0", limit=2, after=newest[3])
        assert (page["total"], [row["id"] for row in page["tasks"]]) == (4, [newest[4], newest[6]])
        assert page["next"] is None
        page = await bench.admin("dead_list", limit=2, after=newest[1])
        assert ([row["id"] for row in page["tasks"]], page["next"]) == ([newest[2], newest[3]], newest[3])
        counted = await bench.admin("dead_retry", error="ValueError", dry_run=True)
        assert (counted["done"], counted["counts"]) == (7, [("q0", "f", "ValueError", 4), ("q1", "f", "ValueError", 3)])
        assert (await bench.admin("dead_retry", queue="q1"))["done"] == 3
        assert list(map(id_text, reversed(bench.ledger.state.dead))) == newest[::2]

    scene()
