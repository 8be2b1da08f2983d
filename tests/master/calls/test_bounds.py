"""P7: the memory of a master is bounded; it refuses what exceeds a bound with an error, and drops nothing."""

from typing import Any

import pytest
from tests.master.bench import DEFAULTS, Bench, done, on_bench, restarted
from tests.web.http_bench import KEY, HttpBench

from distq.core.states import LATER, SUCCEEDED
from distq.master.cycle.housekeeping import NAMES_KEPT_S
from distq.net.keyring import KeyRing
from distq.protocol.authority import Authority
from distq.settings.role_keys import NamedKey
from distq.wire.errors import RemoteRefusal

TTL_S = 10.0


@on_bench(defaults=DEFAULTS._replace(tasks_max=3, capacity=100, result_ttl_s=TTL_S))
async def test_p7_room_for_a_result_is_reserved_with_its_task(bench: Bench) -> None:
    """Stored results take capacity from new tasks until their TTL is over; none is dropped before."""
    client, _, connection = bench.client(), bench.worker(), bench.executor()
    assert (await bench.submit(client, 1, [b"a", b"b"]))[0] is True
    rows = await bench.exchange(connection, want=2)
    await bench.exchange(connection, [done(row) for row in rows], want=0)
    assert bench.counts("q") == {"succeeded": 2}
    accepted, code, sentence = await bench.submit(client, 2, [b"c", b"d"])
    assert (accepted, code) == (False, "TASKS_FULL")
    assert "DISTQ_TASKS_MAX" in sentence
    assert bench.counters("q", "f").rejected == {"kept": 1}
    assert (await bench.submit(client, 3, [b"c"]))[0] is True
    assert isinstance(await bench.ask(bench.connection(), "work", "put", 1), RemoteRefusal)
    assert bench.counts("q") == {"succeeded": 2, "ready": 1}
    await bench.advance(TTL_S + 1)
    assert bench.counts("q") == {"ready": 1}
    assert (await bench.submit(client, 4, [b"d", b"e"]))[0] is True


@on_bench(defaults=DEFAULTS._replace(tasks_per_queue_max=3, capacity=100, result_ttl_s=TTL_S))
async def test_p7_one_queue_leaves_room_for_the_results_of_others(bench: Bench) -> None:
    """Its own results take its room until their TTL is over; a submit to several queues is accepted whole or not."""
    client, _, connection = bench.client(), bench.worker(), bench.executor()
    assert (await bench.submit(client, 1, [b"a", b"b"]))[0] is True
    rows = await bench.exchange(connection, want=2)
    await bench.exchange(connection, [done(row) for row in rows], want=0)
    accepted, code, sentence = await bench.submit(client, 2, [b"c", b"d"])
    assert (accepted, code) == (False, "TASKS_FULL")
    assert "of the queue 'q'" in sentence
    assert "DISTQ_TASKS_PER_QUEUE_MAX" in sentence
    assert bench.counters("q", "f").rejected == {"kept": 1}
    assert bench.ledger.registry.limits_met["tasks_per_queue_max"] == 1
    envelopes, entries = [("other", "f"), ("q", "f"), ("q", "g")], [(0, 3), (1, 1), (2, 1)]
    refused = await bench.ask(client, "broker", "submit", 3, envelopes, entries, [b"x"] * 5, 0.0)
    assert refused[0] is False
    assert bench.counts("q") == {"succeeded": 2}
    assert (await bench.submit(client, 4, [b"c"] * 3, queue="other"))[0] is True
    assert (await bench.submit(client, 5, [b"c"]))[0] is True
    await bench.advance(TTL_S + 1)
    assert (await bench.submit(client, 6, [b"d", b"e"]))[0] is True


@on_bench(defaults=DEFAULTS._replace(tasks_per_key_max=3, capacity=100, result_ttl_s=TTL_S))
async def test_p7_one_key_leaves_room_for_the_results_of_others(bench: Bench) -> None:
    """Its own results take its room, on every queue and over a restart, until their TTL is over."""
    ann, bob = (bench.client(key, Authority(key, ("submit",))) for key in ("ann", "bob"))
    _, connection = bench.worker(), bench.executor()
    assert (await bench.submit(ann, 1, [b"a", b"b"]))[0] is True
    rows = await bench.exchange(connection, want=2)
    await bench.exchange(connection, [done(row) for row in rows], want=0)
    accepted, code, sentence = await bench.submit(ann, 2, [b"c", b"d"], queue="other")
    assert (accepted, code) == (False, "TASKS_FULL")
    assert "2 tasks that the key 'ann' has submitted" in sentence
    assert "the limit of a key is 3 (DISTQ_TASKS_PER_KEY_MAX)" in sentence
    assert bench.counters("other", "f").rejected == {"kept": 1}
    assert bench.ledger.registry.limits_met["tasks_per_key_max"] == 1
    assert (await bench.submit(bob, 1, [b"c"] * 3))[0] is True
    plain = bench.connection("plain", Authority("bob", ("submit",)))
    assert "'bob'" in str(await bench.ask(plain, "work", "put", 1))
    again = await restarted(bench)
    ann, bob = (again.client(key, Authority(key, ("submit",))) for key in ("ann", "bob"))
    assert (await again.submit(ann, 3, [b"c", b"d"]))[1] == (await again.submit(bob, 2, [b"d"]))[1] == "TASKS_FULL"
    assert (await again.submit(ann, 4, [b"c"]))[0] is True
    await again.advance(TTL_S + 1)
    assert (await again.submit(ann, 5, [b"d", b"e"]))[0] is True


@on_bench(defaults=DEFAULTS._replace(tasks_per_key_max=1, capacity=100))
async def test_p7_tasks_of_http_clients_and_of_schedules_count_for_their_key(bench: Bench) -> None:
    """A schedule waits for room as it does for a full queue; the HTTP API answers with the sentence."""
    ann = Authority("ann", ("submit",))
    http = HttpBench(bench, ring=KeyRing([NamedKey(KEY.encode(), ann)]))
    assert (await http.submit()).status_code == 201
    refused = await http.submit()
    assert (refused.status_code, refused.json()["code"]) == (503, "TASKS_FULL")
    assert "the key 'ann'" in refused.text
    made = {"name": "tick", "body": b"x", "envelope": ("q", "f"), "every": 10.0}
    assert not isinstance(await bench.admin("schedule_put", Authority("ann", ("admin",)), **made), Exception)
    await bench.advance(10)
    assert bench.counts("q") == {"ready": 1}
    bench.worker()
    (row,) = await bench.exchange(bench.executor(), want=1)
    assert bench.ledger.cancel(row[0], running=True)
    await bench.advance(DEFAULTS.result_ttl_s + 10)
    assert bench.ledger.registry.key_tasks["ann"].kept == 1
    assert bench.dispatcher.schedules.known["tick"].progress.runs == 1


@on_bench(defaults=DEFAULTS._replace(tasks_max=1, capacity=100))
async def test_p7_the_value_of_a_plain_item_takes_its_items_place(bench: Bench) -> None:
    """A full master still accepts the value of an item that a program has processed."""
    plain, _, connection = bench.connection(), bench.worker(), bench.executor()
    assert await bench.ask(plain, "work", "put", 1) is None
    (row,) = await bench.exchange(connection)
    assert await bench.exchange(connection, [done(row, 1)], want=0) == []
    assert await bench.ask(plain, "result", "get") == 1


def test_p7_the_number_of_queues_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that makes a queue for each task gets an error; known queues go on, and empty queues are forgotten."""

    @on_bench()
    async def scene(bench: Bench) -> None:
        client = bench.client()
        known = bench.ledger.registry
        assert (await bench.submit(client, 1, [b"a"]))[0] is True
        monkeypatch.setattr(known, "_defaults", DEFAULTS._replace(queues_max=len(known.queues)))
        refused = await bench.submit(client, 2, [b"a"], queue="one more")
        assert isinstance(refused, RemoteRefusal)
        assert "DISTQ_QUEUES_MAX" in str(refused)
        assert known.limits_met["queues_max"] == 1
        assert (await bench.submit(client, 3, [b"a"]))[0] is True
        assert bench.counts("q") == {"ready": 2}
        assert "one more" not in known.queues
        cli = bench.connection()
        bench.hello(cli, "cli", "x")
        await bench.ask(cli, "broker", "admin", "cancel", {"queue": "q"})
        assert bench.counts("q") == {"cancelled": 2}
        await bench.advance(DEFAULTS.result_ttl_s + 1)
        assert (await bench.submit(client, 4, [b"a"], queue="one more"))[0] is True
        assert "q" not in known.queues

    scene()


@on_bench(defaults=DEFAULTS._replace(result_ttl_s=1.0, capacity=1000))
async def test_p7_an_envelope_is_forgotten_with_its_last_task(bench: Bench) -> None:
    """A time limit until midnight differs in each submit; the master keeps none of them and refuses no submit."""
    client, known = bench.client(), bench.ledger.registry
    for number in range(1, 300):
        assert (await bench.submit(client, number, [b"a"], 0.0, None, None, 1000.0 + number, queue=f"q{number % 7}"))[0]
    assert len(known._envelopes) == 299
    assert len(known.counters) == 7
    bench.worker()
    connection = bench.executor()
    while rows := await bench.exchange(connection, want=1000):
        await bench.exchange(connection, [done(row) for row in rows], want=0)
    await bench.advance(2.0)
    assert not bench.ledger.state.tasks
    await bench.advance(2 * NAMES_KEPT_S)
    assert len(known._envelopes) == 0
    assert set(known.queues) == {"work", "result"}
    assert known.counters == {}
    assert (known.counters_of_gone.submitted, known.counters_of_gone.completed["success"]) == (299, 299)
    assert (await bench.submit(client, 300, [b"a"]))[0] is True


@on_bench(defaults=DEFAULTS._replace(result_ttl_s=1.0))
async def test_the_master_keeps_an_empty_queue_that_a_worker_serves(bench: Bench) -> None:
    """The worker gets later tasks of the queue, and its limits and its rate stay known."""
    client = bench.client()
    bench.worker(queues=["q"])
    connection = bench.executor()
    bench.call(connection, "broker", "exchange", [], 1, 10 * NAMES_KEPT_S)
    cli = bench.connection()
    bench.hello(cli, "cli", "x")
    await bench.ask(cli, "broker", "admin", "queue_set", {"queue": "limited", "running": 2})
    for _ in range(5):
        bench.workers.sessions["w"].lease_until_at = bench.clock.at + 2 * NAMES_KEPT_S
        await bench.advance(NAMES_KEPT_S)
    assert {"q", "limited"} <= set(bench.ledger.registry.queues)
    await bench.submit(client, 1, [b"a"])
    assert [row[4] for row in bench.rows(connection)] == [b"a"]


@on_bench(defaults=DEFAULTS._replace(payload_bytes_max=5 << 20))
async def test_an_exchange_leases_only_payloads_that_fit_its_reply(bench: Bench) -> None:
    """The reply must fit a frame, whatever the executor wants; the other tasks stay ready."""
    bench.worker()
    executor = bench.executor()
    bodies = [bytes([number]) * (3 << 20) for number in range(5)]
    await bench.submit(bench.client(), 1, bodies)
    first = await bench.exchange(executor, want=5)
    assert [row[4] for row in first] == bodies[:2]
    assert bench.counts("q") == {"ready": 3, "leased": 2}
    second = await bench.exchange(executor, [done(row) for row in first], want=5)
    assert [row[4] for row in second] == bodies[2:4]
    (last,) = await bench.exchange(executor, [done(row) for row in second], want=5)
    assert last[4] == bodies[4]
    await bench.exchange(executor, [done(last)], want=0)
    assert bench.counts("q") == {"succeeded": 5}


@on_bench(defaults=DEFAULTS._replace(payload_bytes_max=5 << 20))
async def test_an_exchange_reads_only_payloads_that_fit_from_the_store(bench: Bench) -> None:
    """The next waiting executor gets the tasks whose payloads did not fit."""
    bench.worker()
    bench.ledger.state.cache.room_bytes = 0
    bodies = [bytes([number]) * (3 << 20) for number in range(5)]
    await bench.submit(bench.client(), 1, bodies)
    one, two = bench.executor(1), bench.executor(2)
    bench.call(one, "broker", "exchange", [], 5, 60.0)
    bench.call(two, "broker", "exchange", [], 5, 60.0)
    await bench.run_until_idle()
    await bench.run_until_idle()
    given = [*bench.rows(one), *bench.rows(two)]
    assert sorted(row[4] for row in given) == bodies[:4]
    assert bench.counts("q") == {"ready": 1, "leased": 4}


@on_bench(defaults=DEFAULTS._replace(payload_bytes_max=5 << 20))
async def test_a_watch_reply_names_the_tasks_whose_results_did_not_fit(bench: Bench) -> None:
    """The reply to a watch must fit a frame too."""
    bench.worker()
    executor = bench.executor()
    client = bench.client("gone")
    _, first = await bench.submit(client, 1, [b"x"] * 4)
    rows = await bench.exchange(executor, want=4)
    large = b"r" * (3 << 18)
    await bench.exchange(executor, [(row[0], row[1], 0, large, 0.1, "") for row in rows], want=0)
    other = bench.client("other")
    reply = await bench.ask(other, "broker", "watch", list(range(first, first + 4)))
    assert [(key, state) for key, state, *_ in reply] == [
        (first, SUCCEEDED),
        (first + 1, SUCCEEDED),
        (first + 2, LATER),
        (first + 3, LATER),
    ]
    reply = await bench.ask(other, "broker", "watch", [first + 2, first + 3])
    assert [body for *_, body, _ in reply] == [large, large]


@on_bench(defaults=DEFAULTS._replace(tasks_per_key_max=100))
async def test_p7_tasks_and_schedules_beyond_a_lowered_limit_go_on_and_can_be_removed(bench: Bench) -> None:
    """A master with lower limits starts, runs the tasks of all queues, and refuses only what is new."""
    client, made = bench.client(), dict[str, Any]()
    for number in range(20):
        assert (await bench.submit(client, number + 1, [b"x", b"y"], queue=f"q{number}"))[0] is True
        made = {"name": f"tick {number}", "body": b"x", "envelope": (f"s{number}", "f"), "every": 1000.0}
        assert not isinstance(await bench.admin("schedule_put", **made), RemoteRefusal)
    assert not isinstance(await bench.admin("queue_set", queue="only limits", capacity=5), RemoteRefusal)
    lower = dict.fromkeys(
        ("queues_max", "tasks_max", "schedules_max", "schedules_per_key_max", "tasks_per_key_max", "sessions_max"), 10
    )
    again = await restarted(bench, **lower, tasks_per_queue_max=1, schedules_per_queue_max=0)
    client = again.client()
    assert (await again.submit(client, 21, [b"x"], queue="q1"))[1] == "TASKS_FULL"
    assert isinstance(await again.submit(client, 22, [b"x"], queue="new"), RemoteRefusal)
    shown = (await again.admin("schedule_list"))["schedules"]
    assert [row["fault"] for row in shown] == [""] * 20
    assert isinstance(await again.admin("schedule_put", **{**made, "name": "one more"}), RemoteRefusal)
    assert not isinstance(await again.admin("schedule_put", **{**made, "every": 500.0}), RemoteRefusal)
    again.worker()
    connection = again.executor()
    rows = await again.exchange(connection, want=100)
    assert len(rows) == 40
    await again.exchange(connection, [done(row) for row in rows], want=0)
    for number in range(20):
        assert not isinstance(await again.admin("schedule_remove", name=f"tick {number}"), RemoteRefusal)
    assert not isinstance(await again.admin("queue_set", queue="only limits", capacity=None), RemoteRefusal)
    await again.advance(max(DEFAULTS.result_ttl_s, 2 * NAMES_KEPT_S) + 10)
    assert (await again.submit(again.client("later"), 1, [b"x"], queue="q1"))[0] is True


@on_bench()
async def test_p7_limits_of_a_stored_queue_are_restored_beyond_the_limit_of_queues(bench: Bench) -> None:
    """As the tasks of such a queue are: a master must start with what its store has."""
    for number in range(15):
        assert not isinstance(await bench.admin("queue_set", queue=f"q{number}", capacity=5), RemoteRefusal)
    again = await restarted(bench, queues_max=10)
    assert {f"q{number}" for number in range(15)} <= set(again.ledger.registry.queues)
    assert isinstance(await again.admin("queue_set", queue="one more", capacity=5), RemoteRefusal)
    assert not isinstance(await again.admin("queue_set", queue="q3", capacity=6), RemoteRefusal)
