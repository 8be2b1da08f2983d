"""A store that refuses a commit: nothing has changed, everybody is answered, and what must happen happens later."""

from tests.master.bench import LEASE_S, WAITING, Bench, done, failed, on_bench

from distq.wire.errors import RemoteRefusal


@on_bench()
async def test_a_put_and_a_submit_are_refused_in_words(bench: Bench) -> None:
    """The caller knows that nothing was taken, and may try again."""
    plain, client = bench.connection(), bench.client()
    bench.store.refuse_next = 1
    bench.call(plain, "work", "put", 1)
    bench.call(client, "broker", "submit", 1, [("q", "f")], [(0, 1)], [b"a"], 0.0)
    await bench.run_until_idle()
    assert "the disk is full" in str(plain.answer())
    assert client.answer()[:2] == (False, "STORE_REFUSED")
    assert bench.ledger.state.tasks == {}
    assert await bench.ask(plain, "work", "put", 1) is None
    assert (await bench.submit(client, 1, [b"a"]))[0] is True


@on_bench()
async def test_two_submits_of_one_session_refused_together_can_both_come_again(bench: Bench) -> None:
    """The session's high-water mark is back where it was."""
    first, second = bench.client(), bench.client()
    bench.store.refuse_next = 1
    for number, connection in ((1, first), (2, second)):
        bench.call(connection, "broker", "submit", number, [("q", "f")], [(0, 1)], [b"a"], 0.0)
    await bench.run_until_idle()
    for number, connection in ((1, first), (2, second)):
        assert connection.answer()[:2] == (False, "STORE_REFUSED")
        assert (await bench.submit(connection, number, [b"a"]))[0] is True
    assert bench.counts("q") == {"ready": 2}


@on_bench()
async def test_who_asked_for_no_change_is_not_refused(bench: Bench) -> None:
    """A get, a wait for results and an idle executor share the cycle, not its fate."""
    plain, client, getter = bench.connection(), bench.client(), bench.connection()
    bench.worker()
    executor = bench.executor()
    bench.store.refuse_next = 1
    bench.call(plain, "work", "put", 1)
    bench.call(getter, "work", "get", timeout=5)
    bench.call(client, "broker", "results", 0, 5.0)
    bench.call(executor, "broker", "exchange", [], 1, 5.0)
    await bench.run_until_idle()
    assert isinstance(plain.answer(), RemoteRefusal)
    assert (getter.answer(), client.answer(), executor.answer()) == (WAITING, WAITING, WAITING)
    await bench.advance(5)
    assert not getter.waits
    assert client.answer() == (0, [])
    assert bench.rows(executor) == []


@on_bench()
async def test_what_was_run_is_settled_when_the_store_works_again(bench: Bench) -> None:
    """The executor's answer waits for that: a task that was run is not run again for a full disk."""
    bench.worker()
    connection = bench.executor()
    await bench.submit(bench.client(), 1, [b"a", b"b"])
    await bench.ask(bench.connection(), "work", "put", 1)
    rows = await bench.exchange(connection, want=3)
    bench.store.refuse_next = 10**6
    assert await bench.exchange(connection, [done(row) for row in rows]) is WAITING
    assert bench.counts("q") == {"leased": 2}
    await bench.advance(2.5)
    assert connection.waits
    bench.store.refuse_next = 0
    await bench.advance(1)
    assert bench.rows(connection) == []
    assert bench.counts("q") == {"succeeded": 2}
    assert bench.counts("result") == {"ready": 1}
    assert bench.ledger.unknown_settles == 0


@on_bench()
async def test_p7_a_full_store_refuses_what_is_new_and_takes_what_ends(bench: Bench) -> None:
    """In one cycle: a submit and a put are refused in words, a result is stored, a lost item goes back, a TTL ends."""
    bench.worker()
    connection, plain, lost = bench.executor(), bench.connection(), bench.connection()
    await bench.submit(bench.client(), 1, [b"a", b"b"], 0.0, 5, 1, None, 10.0)
    rows = await bench.exchange(connection, want=2)
    assert await bench.exchange(connection, [done(rows[0])], want=0) == []
    await bench.ask(lost, "work", "put", 1)
    await bench.ask(lost, "work", "get")
    bench.clock.at += 10
    bench.store.full = True
    client = bench.client("another")
    bench.call(client, "broker", "submit", 1, [("q", "f")], [(0, 1)], [b"c"], 0.0)
    bench.call(plain, "work", "put", 2)
    bench.call(connection, "broker", "exchange", [done(rows[1])], 0, 0.0)
    lost.open = lost.alive = False
    bench.dispatcher.connection_closed(lost)  # type: ignore[arg-type] # a line without a socket
    await bench.cycle()
    assert client.answer()[:2] == (False, "STORE_REFUSED")
    assert isinstance(plain.answer(), RemoteRefusal)
    assert bench.rows(connection) == []
    await bench.run_until_idle()
    assert bench.counts("q") == {"succeeded": 1}
    assert bench.counts("work") == {"ready": 1}
    bench.store.full = False
    assert (await bench.submit(client, 1, [b"c"]))[0] is True


@on_bench()
async def test_p7_a_plain_value_that_finds_no_room_waits_with_its_item(bench: Bench) -> None:
    """Settling the item without its value would lose it; the executor is answered when both are stored."""
    bench.worker()
    connection, plain = bench.executor(), bench.connection()
    await bench.ask(plain, "work", "put", 1)
    (row,) = await bench.exchange(connection)
    bench.store.full = True
    assert await bench.exchange(connection, [done(row)]) is WAITING
    assert bench.counts("work") == {"leased": 1}
    bench.store.full = False
    await bench.advance(1.5)
    assert bench.rows(connection) == []
    assert bench.counts("result") == {"ready": 1}


@on_bench()
async def test_answers_that_were_only_half_decided_are_decided_again(bench: Bench) -> None:
    """Two answers for one task take two cycles; if the first is refused, nothing of it is forgotten."""
    bench.worker()
    connection = bench.executor()
    await bench.submit(bench.client(), 1, [b"a", b"b"])
    rows = await bench.exchange(connection, want=2)
    bench.store.refuse_next = 1
    assert await bench.exchange(connection, [done(rows[0]), failed(rows[0]), done(rows[1])]) == []
    assert bench.counts("q") == {"succeeded": 2}


@on_bench()
async def test_a_lost_connection_is_not_forgotten(bench: Bench) -> None:
    """What it held goes back as soon as the store takes that."""
    connection = bench.connection()
    await bench.ask(connection, "work", "put", 1)
    await bench.ask(connection, "work", "get")
    bench.store.refuse_next = 1
    await bench.disconnect(connection)
    assert bench.counts("work") == {"leased": 1}
    await bench.advance(1.1)
    assert bench.counts("work") == {"ready": 1}


@on_bench()
async def test_a_silent_workers_leases_end_although_the_store_refuses(bench: Bench) -> None:
    """The moment at which it is looked at must not be lost with a commit that had nothing to do with it."""
    bench.worker()
    connection = bench.executor()
    await bench.submit(bench.client(), 1, [b"a"])
    await bench.exchange(connection)
    await bench.advance(LEASE_S - 0.5)
    bench.store.refuse_next = 1
    bench.clock.at += 1
    assert isinstance(await bench.ask(bench.connection(), "work", "put", 1), RemoteRefusal)
    await bench.advance(3)
    assert bench.counts("q") == {"ready": 1}


@on_bench()
async def test_a_result_that_was_fetched_goes_when_the_store_takes_that(bench: Bench) -> None:
    """Meanwhile nobody else is given it."""
    reader, other = bench.connection(), bench.connection()
    await bench.ask(reader, "result", "put", 1)
    bench.store.refuse_next = 1
    assert await bench.ask(reader, "result", "get") == 1
    assert await bench.ask(other, "result", "get") is WAITING
    await bench.advance(1.1)
    assert bench.counts("result") == {}
    assert other.waits


@on_bench()
async def test_a_settling_get_or_task_done_is_refused_and_the_item_stays(bench: Bench) -> None:
    """The worker still holds it, and its next call settles it."""
    connection = bench.connection()
    for item in (1, 2):
        await bench.ask(connection, "work", "put", item)
    await bench.ask(connection, "work", "get")
    for method in ("get_nowait", "task_done"):
        bench.store.refuse_next = 1
        assert isinstance(await bench.ask(connection, "work", method), RemoteRefusal)
        assert bench.counts("work") == {"ready": 1, "leased": 1}
    assert await bench.ask(connection, "work", "get") == 2


@on_bench()
async def test_a_store_that_refuses_for_long_is_not_asked_all_the_time(bench: Bench) -> None:
    """What is due stays due; once a second is often enough."""
    await bench.submit(bench.client(), 1, [b"a"], 0.0, 5, 1, None, 1.0)
    bench.worker()
    connection = bench.executor()
    (row,) = await bench.exchange(connection)
    await bench.exchange(connection, [done(row)], want=0)
    bench.store.refuse_next = 10**6
    cycles = bench.broker.cycles
    await bench.advance(20)
    assert bench.broker.cycles - cycles < 50
    assert bench.counts("q") == {"succeeded": 1}
    bench.store.refuse_next = 0
    await bench.advance(2)
    assert bench.counts("q") == {}


@on_bench()
async def test_a_nearly_full_store_takes_results_and_refuses_new_tasks(bench: Bench) -> None:
    """One cycle brings both: the submit is refused in words, the settle beside it is stored and answered."""
    bench.worker()
    executor, client, plain = bench.executor(), bench.client(), bench.connection()
    await bench.submit(client, 1, [b"a", b"b"])
    rows = await bench.exchange(executor, want=2)
    bench.store.full = True
    bench.call(client, "broker", "submit", 2, [("q", "f")], [(0, 1)], [b"c"], 0.0)
    bench.call(executor, "broker", "exchange", [done(rows[0])], 0, 0.0)
    bench.call(plain, "work", "put", 1)
    await bench.run_until_idle()
    assert client.answer()[:2] == (False, "STORE_REFUSED")
    assert isinstance(plain.answer(), RemoteRefusal)
    assert bench.rows(executor) == []
    assert bench.counts("q") == {"succeeded": 1, "leased": 1}
    assert (await bench.store.read([rows[0][0]])) != [b"a"]
    bench.store.full = False
    assert (await bench.submit(client, 2, [b"c"]))[0] is True


@on_bench()
async def test_a_plain_item_is_settled_only_with_its_result(bench: Bench) -> None:
    """A nearly full store has no place for the result, so the item stays leased until there is one."""
    bench.worker()
    executor = bench.executor()
    await bench.ask(bench.connection(), "work", "put", 1)
    rows = await bench.exchange(executor)
    bench.store.full = True
    assert await bench.exchange(executor, [done(rows[0])]) is WAITING
    assert (bench.counts("work"), bench.counts("result")) == ({"leased": 1}, {})
    bench.store.full = False
    await bench.advance(1.1)
    assert (bench.counts("work"), bench.counts("result")) == ({}, {"ready": 1})
