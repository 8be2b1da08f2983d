"""Operators' requests about queues: pause, resume and limit, over refused commits and restarts."""

from typing import Any

import pytest
from tests.master.bench import DEFAULTS, WAITING, Bench, FakeConnection, done, on_bench, released, restarted

from distq.core.policy import Policy, Rate
from distq.wire.errors import RemoteRefusal


async def held(bench: Bench, want: int = 10) -> tuple[FakeConnection, list[Any]]:
    """Return a worker's executor and the tasks that it was leased."""
    bench.worker()
    connection = bench.executor()
    return connection, await bench.exchange(connection, want=want)


@on_bench()
async def test_a_paused_queue_gives_out_nothing_and_takes_submits(bench: Bench) -> None:
    """An executor that waits receives a task when the queue is resumed."""
    reply = await bench.admin("pause", queue="q")
    assert reply["queues"][0]["paused"]
    assert (await bench.submit(bench.client(), 1, [b"a"]))[0]
    bench.worker()
    connection = bench.executor()
    assert await bench.exchange(connection, wait_s=60.0) is WAITING
    await bench.admin("resume", queue="q")
    assert [row[4] for row in bench.rows(connection)] == [b"a"]


@on_bench()
async def test_a_running_task_of_a_paused_queue_ends_as_usual(bench: Bench) -> None:
    """The result of the running task counts."""
    await bench.submit(bench.client(), 1, [b"a", b"b"])
    connection, rows = await held(bench, want=1)
    await bench.admin("pause", queue="q")
    assert await bench.exchange(connection, [done(rows[0])]) == []
    assert bench.counts("q") == {"succeeded": 1, "ready": 1}


@on_bench()
async def test_tasks_of_one_name_can_be_paused_and_the_others_go_on(bench: Bench) -> None:
    """Tasks submitted later are paused too; without a queue, all queues that know the name are meant."""
    client = bench.client()
    runs = ([("q", "f"), ("q", "g")], [(0, 1), (1, 1)], [b"f", b"g"], 0.0)
    await bench.ask(client, "broker", "submit", 1, *runs)
    reply = await bench.admin("pause", name="f")
    assert [(queue["queue"], queue["paused_names"]) for queue in reply["queues"]] == [("q", ["f"])]
    await bench.ask(client, "broker", "submit", 2, *runs)
    connection, rows = await held(bench)
    assert [row[4] for row in rows] == [b"g", b"g"]
    await bench.admin("resume", name="f")
    assert [row[4] for row in await bench.exchange(connection, [done(row) for row in rows], want=10)] == [b"f", b"f"]


@on_bench()
async def test_a_name_of_which_all_tasks_are_delayed_can_be_paused(bench: Bench) -> None:
    """The queue of the delayed task is known, also after a restart of the master; the name was called unknown."""
    client = bench.client()
    rows = ([("q", "later")], [(0, 1, (60.0, None, None))], [b"a"], 0.0)
    await bench.ask(client, "broker", "submit", 1, *rows)
    assert bench.counts("q") == {"delayed": 1}
    reply = await bench.admin("pause", name="later")
    assert [(queue["queue"], queue["paused_names"]) for queue in reply["queues"]] == [("q", ["later"])]
    await bench.admin("resume", name="later")
    again = await restarted(bench)
    reply = await again.admin("pause", name="later")
    assert [queue["queue"] for queue in reply["queues"]] == ["q"]


@on_bench()
async def test_p1_a_pause_is_kept_over_a_restart(bench: Bench) -> None:
    """Every limit is kept too; a reset removes them all."""
    await bench.admin("pause", queue="q")
    await bench.admin("queue_set", queue="r", running=2, rate="5/m", capacity=3)
    await bench.admin("pause", queue="r", name="f")
    again = await restarted(bench)
    assert again.queue("q").policy.paused
    assert again.queue("r").policy == Policy(False, frozenset({"f"}), 2, Rate(5, 60.0), 3)
    await again.admin("queue_reset", queue="r")
    assert (await restarted(again)).queue("r").policy == Policy(capacity=DEFAULTS.capacity)


@on_bench()
async def test_a_pause_that_the_store_refuses_is_none(bench: Bench) -> None:
    """The caller receives the error."""
    bench.store.refuse_next = 1
    assert isinstance(await bench.admin("pause", queue="q"), RemoteRefusal)
    await bench.submit(bench.client(), 1, [b"a"])
    assert len((await held(bench))[1]) == 1


@on_bench()
async def test_a_queue_has_at_most_its_limit_of_tasks_in_flight(bench: Bench) -> None:
    """Each executor receives one task at a time, so that they run at the same time."""
    await bench.admin("queue_set", queue="q", running=2)
    await bench.submit(bench.client(), 1, [b"a", b"b", b"c"])
    bench.worker()
    connections = [bench.executor(index) for index in (1, 2, 3)]
    given = [await bench.exchange(connection, want=10, wait_s=60.0) for connection in connections]
    assert [row[4] for rows in given[:2] for row in rows] == [b"a", b"b"]
    assert given[2] is WAITING
    await bench.exchange(connections[0], [released(given[0][0])], want=0)
    assert [row[4] for row in bench.rows(connections[2])] == [b"a"]


@on_bench()
async def test_a_waiting_executor_gets_a_task_when_the_rate_allows_it(bench: Bench) -> None:
    """The rate is exact, also over a restart."""
    await bench.admin("queue_set", queue="q", rate="2/20s")
    await bench.submit(bench.client(), 1, [b"a", b"b", b"c", b"d"])
    connection, rows = await held(bench)
    assert [row[4] for row in rows] == [b"a", b"b"]
    assert await bench.exchange(connection, [done(row) for row in rows], want=10, wait_s=200.0) is WAITING
    await bench.advance(10)
    again = await restarted(bench)
    again_line, none = await held(again)
    assert none == []
    assert await again.exchange(again_line, want=1, wait_s=200.0) is WAITING
    await bench.advance(9)
    assert bench.rows(connection) is WAITING
    await bench.advance(2)
    assert [row[4] for row in bench.rows(connection)] == [b"c", b"d"]
    await again.advance(11)
    assert [row[4] for row in again.rows(again_line)] == [b"c"]


@on_bench()
async def test_the_capacity_of_one_queue_can_be_set(bench: Bench) -> None:
    """That queue refuses more tasks."""
    await bench.admin("queue_set", queue="q", capacity=1)
    assert (await bench.submit(bench.client(), 1, [b"a"]))[0]
    assert (await bench.submit(bench.client(), 2, [b"a"]))[1] == "QUEUE_FULL"
    assert (await bench.submit(bench.client(), 3, [b"a"], queue="r"))[0]


@on_bench()
async def test_a_dry_run_of_a_cancel_counts_the_tasks(bench: Bench) -> None:
    """The dry run cancels nothing."""
    await bench.submit(bench.client(), 1, [b"a", b"b"])
    connection, _ = await held(bench, want=1)
    reply = await bench.admin("cancel", queue="q", dry_run=True)
    assert (reply["done"], len(reply["running"])) == (1, 1)
    assert bench.counts("q") == {"leased": 1, "ready": 1}
    assert connection.open


@pytest.mark.parametrize(
    ("action", "options"),
    [
        ("pause", {}),
        ("queue_set", {"name": "f", "running": 1}),
        ("pause", {"name": "never seen"}),
        ("pause", {"queue": "q" * 65}),
        ("pause", {"queue": ""}),
        ("queue_set", {"queue": "q", "running": 0}),
        ("queue_set", {"queue": "q", "rate": "often"}),
    ],
)
def test_an_invalid_limit_request_is_refused(action: str, options: dict[str, Any]) -> None:
    """A refused request creates no queue."""

    @on_bench()
    async def scene(bench: Bench) -> None:
        """Send one invalid request."""
        assert isinstance(await bench.admin(action, **options), RemoteRefusal)
        assert not any(queue.own.limits for queue in bench.ledger.registry.queues.values())

    scene()


@on_bench()
async def test_a_new_queue_has_a_name_that_a_list_of_queues_can_contain(bench: Bench) -> None:
    """A submit, a pause and a limit do not make another one; a queue from before the rule stays usable."""
    client = bench.client()
    refused = await bench.submit(client, 1, [b"a"], queue="a,b")
    assert "no comma, line break or control character" in str(refused)
    for action, asked in (("pause", {}), ("queue_set", {"running": 1})):
        assert "DISTQ_QUEUES can list it" in str(await bench.admin(action, queue="a\nb", **asked))
    assert not {"a,b", "a\nb"} & bench.ledger.registry.queues.keys()
    bench.ledger.registry.queue("a,b")
    assert (await bench.submit(client, 1, [b"a"], queue="a,b"))[0] is True


@pytest.mark.parametrize("action", ["pause", "resume", "queue_set", "queue_reset", "cancel"])
def test_a_queue_that_must_exist_is_not_made(action: str) -> None:
    """The master refuses a mistyped name, and suggests the most similar one."""

    @on_bench()
    async def scene(bench: Bench) -> None:
        """Send one mistyped name."""
        await bench.submit(bench.client(), 1, [b"a"])
        refusal = await bench.admin(action, queue="qq", running=1 if action == "queue_set" else False, must_exist=True)
        assert isinstance(refusal, RemoteRefusal)
        assert "there is no queue 'qq'" in str(refusal)
        assert "did you mean 'q'?" in str(refusal)
        assert "qq" not in bench.ledger.registry.queues
        assert not isinstance(await bench.admin("pause", queue="q", must_exist=True), RemoteRefusal)

    scene()


@on_bench()
async def test_a_queue_that_was_made_by_an_operator_goes_when_that_is_undone(bench: Bench) -> None:
    """Its row is deleted too, so that no restart restores it; a queue that has had a task stays."""
    for queue in ("made", "used"):
        await bench.admin("pause", queue=queue)
        assert bench.ledger.registry.queues[queue].own.paused
    runs = ([("used", "f")], [(0, 1)], [b"f"], 0.0)
    await bench.ask(bench.client(), "broker", "submit", 1, *runs)
    for queue in ("made", "used"):
        await bench.admin("resume", queue=queue)
    assert "made" not in bench.ledger.registry.queues
    assert not bench.ledger.registry.queues["used"].own.paused
    again = await restarted(bench)
    assert "made" not in again.ledger.registry.queues
    assert "used" in again.ledger.registry.queues
