"""Refused commits: no state has changed, every caller gets an answer, and due changes are repeated."""

from tests.master.bench import LEASE_S, WAITING, Bench, done, failed, on_bench

from distq.wire.errors import RemoteRefusal


@on_bench()
async def test_a_put_and_a_submit_get_the_error_of_a_refused_commit(bench: Bench) -> None:
    """The caller knows that nothing was accepted, and may call again."""
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
async def test_two_submits_of_one_session_refused_together_can_both_be_repeated(bench: Bench) -> None:
    """The session's newest submit number is the one from before."""
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
async def test_a_request_without_a_change_is_not_refused(bench: Bench) -> None:
    """A get, a wait for results and an idle executor go on waiting, although their cycle's commit was refused."""
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
async def test_a_settle_waits_until_the_store_accepts_it(bench: Bench) -> None:
    """The executor waits for the answer, so that a full disk does not make a task run twice."""
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
async def test_p7_a_full_store_refuses_new_tasks_and_stores_ends(bench: Bench) -> None:
    """One cycle refuses a submit and a put, stores a result, gives a lost item back and ends a TTL."""
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
    bench.dispatcher.connection_closed(lost)  # type: ignore[arg-type] # a connection without a socket
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
async def test_p7_a_plain_item_is_settled_only_together_with_its_value(bench: Bench) -> None:
    """The executor gets its answer when the store has both; without its value the item's work would be lost."""
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
async def test_a_refused_commit_repeats_every_settle_of_its_exchange(bench: Bench) -> None:
    """Two settles of one task take two cycles; if the first commit is refused, neither settle is forgotten."""
    bench.worker()
    connection = bench.executor()
    await bench.submit(bench.client(), 1, [b"a", b"b"])
    rows = await bench.exchange(connection, want=2)
    bench.store.refuse_next = 1
    assert await bench.exchange(connection, [done(rows[0]), failed(rows[0]), done(rows[1])]) is WAITING
    await bench.advance(1)
    assert bench.rows(connection) == []
    assert bench.counts("q") == {"succeeded": 2}


@on_bench()
async def test_a_lost_connection_is_handled_after_a_refused_commit(bench: Bench) -> None:
    """Its tasks become ready as soon as the store accepts that."""
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
    """The refused commit of another request does not make the master forget the end of the leases."""
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
async def test_a_collected_result_ends_when_the_store_accepts_that(bench: Bench) -> None:
    """Until then the master gives the result to no other collector."""
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
    """The worker still holds the item, and its next call settles it."""
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
async def test_the_master_tries_a_refusing_store_once_a_second(bench: Bench) -> None:
    """Due changes stay due until the store accepts them."""
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
    """In one cycle the submit gets an error, and the settle is stored and answered."""
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
async def test_an_item_stays_leased_while_the_store_has_no_space_for_its_result(bench: Bench) -> None:
    """The put of the result settles the item when the nearly full store accepts it."""
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
