"""Client sessions: a submit counts once, and results reach the client that submitted."""

import gc
import math
import pickle
from typing import Any

import pytest
from tests.master.bench import DEFAULTS, WAITING, Bench, FakeConnection, on_bench

from distq.core.loading import UnreadableRow
from distq.master.calls.submit import ANSWERS_KEPT
from distq.master.sessions import result_backlog
from distq.master.sessions.clients import EXAMINED_MAX, IDLE_S, ClientSession, incomplete
from distq.protocol.authority import Authority
from distq.wire.errors import RemoteRefusal


@on_bench()
async def test_a_submit_sent_again_is_the_same_submit(bench: Bench) -> None:
    """P1: over any connection the client receives the first answer again, and the tasks exist once."""
    connection = bench.client()
    accepted = await bench.submit(connection, 1, [b"a", b"b"])
    assert accepted[0] is True
    assert await bench.submit(connection, 1, [b"a", b"b"]) == accepted
    assert await bench.submit(bench.client(), 1, [b"a", b"b"]) == accepted
    assert bench.counts("q") == {"ready": 2}
    other = await bench.submit(bench.client("another"), 1, [b"a"])
    assert other != accepted


@on_bench()
async def test_a_submit_sent_twice_in_one_cycle_is_taken_once(bench: Bench) -> None:
    """The first connection's call is still queued when the second connection's call arrives."""
    first, second = bench.client(), bench.client()
    for connection in (first, second):
        bench.call(connection, "broker", "submit", 1, [("q", "f")], [(0, 1)], [b"a"], 0.0)
    await bench.run_until_idle()
    assert first.answer() == second.answer()
    assert bench.counts("q") == {"ready": 1}


@on_bench(defaults=DEFAULTS._replace(capacity=1000))
async def test_answers_are_kept_for_the_last_submits(bench: Bench) -> None:
    """The master refuses a submit that a client sends again much later, and does not accept it twice."""
    connection = bench.client()
    for number in range(1, ANSWERS_KEPT + 2):
        await bench.submit(connection, number, [b"a"])
    assert (await bench.submit(connection, 2, [b"a"]))[0] is True
    assert (await bench.submit(connection, 1, [b"a"]))[:2] == (False, "BAD_CALL")
    assert bench.counts("q") == {"ready": ANSWERS_KEPT + 1}


@on_bench()
async def test_a_full_queue_refuses_or_waits_as_the_caller_chose(bench: Bench) -> None:
    """The master refuses a whole batch, or accepts it as soon as the queue has room for all of it."""
    connection = bench.client()
    await bench.submit(connection, 1, [b"a"] * 4)
    assert (await bench.submit(connection, 2, [b"b"] * 3))[:2] == (False, "QUEUE_FULL")
    assert bench.counters("q", "f").rejected == {"full": 1}
    assert bench.counts("q") == {"ready": 4}
    assert await bench.submit(connection, 2, [b"b"] * 3, 5.0) is WAITING
    assert await bench.run_all() == 4
    assert connection.answer()[0] is True
    assert bench.counts("q") == {"ready": 3, "succeeded": 4}


@on_bench()
async def test_a_wait_for_room_ends_with_its_time(bench: Bench) -> None:
    """The master then refuses the submit, and the client may send the same number again."""
    connection = bench.client()
    await bench.submit(connection, 1, [b"a"] * 5)
    assert await bench.submit(connection, 2, [b"b"] * 2, 5.0) is WAITING
    cycles = bench.broker.cycles
    await bench.advance(5)
    assert bench.broker.cycles < cycles + 10
    assert connection.answer()[:2] == (False, "QUEUE_FULL")
    assert bench.counters("q", "f").rejected == {"full": 1}
    assert await bench.run_all() == 5
    assert (await bench.submit(connection, 2, [b"b"] * 2))[0] is True


@on_bench()
async def test_a_batch_larger_than_the_capacity_is_refused_immediately(bench: Bench) -> None:
    """The master refuses the whole batch; two envelopes of one queue count together."""
    connection = bench.client()
    assert (await bench.submit(connection, 1, [b"a"] * 7, 60.0))[:2] == (False, "QUEUE_FULL")
    assert bench.counters("q", "f").rejected == {"full": 1}
    args = (1, [("q", "f"), ("q", "g")], [(0, 4), (1, 4)], [b"a"] * 8, 60.0)
    assert (await bench.ask(connection, "broker", "submit", *args))[:2] == (False, "QUEUE_FULL")
    assert bench.counts("q") == {}


@on_bench()
async def test_a_submit_that_waits_twice_is_answered_twice_the_same(bench: Bench) -> None:
    """A submit waits for room, its connection breaks, and the submit sent again receives the same answer."""
    first = bench.client()
    await bench.submit(first, 1, [b"a"] * 6)
    assert await bench.submit(first, 2, [b"b"] * 6, 10.0) is WAITING
    await bench.disconnect(first)
    second = bench.client()
    assert await bench.submit(second, 2, [b"b"] * 6, 20.0) is WAITING
    assert await bench.run_all() == 6
    assert bench.counts("q")["ready"] == 6
    await bench.advance(30)
    assert second.answer()[0] is True
    assert await bench.submit(bench.client(), 2, [b"b"] * 6) == second.answer()
    assert bench.counts("q")["ready"] == 6


@on_bench()
async def test_a_payload_that_is_too_large_is_refused(bench: Bench) -> None:
    """The refusal names the size and the limit; the master accepts no other task of the batch."""
    answer = await bench.submit(bench.client(), 1, [b"a", b"x" * 1001])
    assert answer[:2] == (False, "PAYLOAD_TOO_LARGE")
    assert "1000" in answer[2]
    assert bench.counts("q") == {}


WRONG: list[tuple[Any, ...]] = [
    (),
    ("1", [("q", "f")], [(0, 1)], [b"a"], 0.0),
    (1, [("q", "f")], [(0, 2)], [b"a"], 0.0),
    (1, [("q", "f")], [(0, 1.0)], [b"a"], 0.0),
    (1, [("q", "f")], [(0, 2), (0, -1)], [b"a"], 0.0),
    (1, [("q", "f")], [(1, 1)], [b"a"], 0.0),
    (1, [("q", "f")], [], [], 0.0),
    (1, [("q", "f")], [(0, 1)], ["a"], 0.0),
    (1, [("q", "f")], [(0, 1)], [b"a"], math.nan),
    (1, [("q", "f")], [(0, 1)], [b"a"], math.inf),
    (1, [("", "f")], [(0, 1)], [b"a"], 0.0),
    (1, [("q", 7)], [(0, 1)], [b"a"], 0.0),
    (1, [("q" * 100, "f")], [(0, 1)], [b"a"], 0.0),
    (1, [("\ud800", "f")], [(0, 1)], [b"a"], 0.0),
    (1, [("result", "f")], [(0, 1)], [b"a"], 0.0),
    *((1, [("q", "f", priority)], [(0, 1)], [b"a"], 0.0) for priority in (-1, 10, 5.0, "5", True)),
    *((1, [("q", "f", 5, retries)], [(0, 1)], [b"a"], 0.0) for retries in (-1, 10**9, 1.0)),
    *((1, [("q", "f", 5, 1, limit)], [(0, 1)], [b"a"], 0.0) for limit in (-1.0, math.nan, math.inf, "1")),
    *((1, [("q", "f", 5, 1, 1.0, ttl)], [(0, 1)], [b"a"], 0.0) for ttl in (-1.0, math.nan, math.inf)),
    *((1, [("q", "f", 5, 1, 1.0, 1.0, most)], [(0, 1)], [b"a"], 0.0) for most in (0, -1, 10**9, 1.5)),
]


@pytest.mark.parametrize("args", WRONG, ids=str)
def test_an_invalid_submit_is_refused(args: tuple[Any, ...]) -> None:
    """An invalid submit changes nothing, and the master does not end."""

    @on_bench()
    async def scene(bench: Bench) -> None:
        connection = bench.client()
        known = set(bench.ledger.registry.queues)
        assert isinstance(await bench.ask(connection, "broker", "submit", *args), RemoteRefusal)
        assert bench.ledger.state.tasks == {}
        assert set(bench.ledger.registry.queues) - known <= {"q"}
        assert (await bench.submit(connection, 1, [b"a"]))[0] is True

    scene()


@on_bench()
async def test_results_are_pushed_to_the_session_that_submitted(bench: Bench) -> None:
    """Only the session that submitted receives the results."""
    connection, other = bench.client(), bench.client("other")
    accepted = await bench.submit(connection, 1, [b"a", b"b"])
    assert await bench.ask(connection, "broker", "results", 0, 20.0) is WAITING
    assert await bench.ask(other, "broker", "results", 0, 20.0) is WAITING
    await bench.run_all()
    number, rows = connection.answer()
    assert number == 1
    assert [(key, state, pickle.loads(body)) for key, state, body, _ in rows] == [
        (accepted[1], 3, b"a"),
        (accepted[1] + 1, 3, b"b"),
    ]
    await bench.advance(20)
    assert other.answer() == (0, [])


@on_bench()
async def test_a_reply_that_was_lost_is_sent_again(bench: Bench) -> None:
    """The master repeats a reply until the client confirms it: the client receives each result once."""
    connection = bench.client()
    await bench.submit(connection, 1, [b"a"])
    await bench.run_all()
    lost = await bench.ask(connection, "broker", "results", 0, 20.0)
    await bench.disconnect(connection)
    connection = bench.client()
    assert await bench.ask(connection, "broker", "results", 0, 20.0) == lost
    assert await bench.ask(connection, "broker", "results", 1, 0.0) == (1, [])


@on_bench()
async def test_results_are_pushed_to_the_newest_connection(bench: Bench) -> None:
    """A closed connection receives no result; the master ends the wait of an older open connection."""
    old, new = bench.client(), bench.client()
    await bench.submit(old, 1, [b"a"])
    assert await bench.ask(old, "broker", "results", 0, 20.0) is WAITING
    assert await bench.ask(new, "broker", "results", 0, 20.0) is WAITING
    assert old.answer() == (0, [])
    bench.call(old, "broker", "results", 0, 20.0)
    old.open = False
    await bench.run_until_idle()
    await bench.run_all()
    assert len(new.answer()[1]) == 1


@on_bench()
async def test_a_client_that_is_in_use_keeps_its_session(bench: Bench) -> None:
    """The session stays for days, at whatever time the master checks its idleness."""
    connection = bench.client()
    for number in range(1, 8):
        await bench.ask(connection, "broker", "results", number - 1, 0.0)
        await bench.submit(connection, number, [b"a"], 0.0, 5, 1, None, 1.0)
        await bench.run_all(f"w{number}")
        assert len((await bench.ask(connection, "broker", "results", number - 1, 0.0))[1]) == 1
        await bench.advance(IDLE_S / 2)
    assert set(bench.dispatcher.clients.sessions) == {"c"}


@on_bench()
async def test_a_client_that_stays_away_is_forgotten(bench: Bench) -> None:
    """The workers still run its tasks, but the master keeps their results no longer than their retention."""
    connection = bench.client()
    await bench.submit(connection, 1, [b"a"])
    await bench.disconnect(connection)
    await bench.advance(2 * IDLE_S)
    assert bench.dispatcher.clients.sessions == {}
    (task,) = bench.ledger.state.tasks.values()
    owner = task.owner
    assert owner is not None
    await bench.run_all()
    assert owner.outbox == []
    assert bench.counts("q") == {"succeeded": 1}


@on_bench()
async def test_p7_clients_that_have_ended_in_order_are_forgotten(bench: Bench) -> None:
    """Thousands of short clients in an hour leave no session and no timer."""

    async def come_and_go(number: int) -> None:
        connection = bench.client(f"once {number}")
        await bench.submit(connection, 1, [b"a"])
        await bench.run_all()
        assert await bench.ask(connection, "broker", "goodbye") is None
        await bench.disconnect(connection)

    for number in range(50):
        await come_and_go(number)
    instants = len(bench.broker.instants)
    gc.collect()
    left = [one.key for one in gc.get_objects() if type(one) is ClientSession and one.key.startswith("once ")]
    assert not left
    assert instants < 10


@on_bench()
async def test_a_submit_that_waits_for_room_outlives_the_goodbye_of_its_client(bench: Bench) -> None:
    """A goodbye and a submit of one session in one cycle leave no row; the waiting submit stores its own."""
    first, second, third = (bench.client() for _ in range(3))
    capacity = DEFAULTS.capacity
    await bench.submit(first, 1, [b"a"] * capacity)
    assert await bench.submit(third, 5, [b"c"], 60.0) is WAITING
    bench.call(first, "broker", "goodbye")
    bench.call(second, "broker", "submit", 4, [("other", "f")], [(0, 1)], [b"b"], 0.0)
    await bench.run_until_idle()
    assert second.answer()[0] is True
    assert await bench.run_all() > 0
    await bench.run_until_idle()
    assert third.answer()[0] is True
    assert bench.broker.refusals == 0


@on_bench()
async def test_clients_that_stay_away_are_forgotten_each_at_its_time(bench: Bench) -> None:
    """The master ends each of many sessions at its own time, later if the client was seen later."""
    connections = [bench.client(f"c{number}") for number in range(2 * EXAMINED_MAX + 1)]
    await bench.submit(connections[0], 1, [b"a"])
    await bench.advance(IDLE_S / 2)
    late = bench.client("late")
    await bench.ask(connections[1], "broker", "results", 0, 0.0)
    await bench.advance(IDLE_S / 2 + 1)
    assert set(bench.dispatcher.clients.sessions) == {"late", "c1"}
    await bench.ask(late, "broker", "results", 0, 0.0)
    await bench.advance(IDLE_S)
    assert set(bench.dispatcher.clients.sessions) == {"late"}
    await bench.advance(2 * IDLE_S)
    assert bench.dispatcher.clients.sessions == {}
    again = bench.client("again")
    await bench.advance(IDLE_S / 2)
    assert set(bench.dispatcher.clients.sessions) == {"again"}
    await bench.disconnect(again)
    await bench.advance(IDLE_S)
    assert bench.dispatcher.clients.sessions == {}


@on_bench(defaults=DEFAULTS._replace(sessions_max=10))
async def test_p7_the_sessions_of_killed_clients_are_bounded(bench: Bench) -> None:
    """Connected clients keep their sessions; of the others the oldest ends, and its row is deleted."""
    here = [bench.client(f"here {number}") for number in range(4)]
    for number in range(50):
        killed = bench.client(f"killed {number}")
        await bench.submit(killed, 1, [b"a"])
        await bench.run_all()
        await bench.disconnect(killed)
    sessions = bench.dispatcher.clients.sessions
    assert set(sessions) == {*(f"here {n}" for n in range(4)), *(f"killed {n}" for n in range(44, 50))}
    await bench.submit(here[0], 1, [b"a"])
    rows = {key for key in bench.store._rows if key < 0}
    assert rows == {session.row_key for session in sessions.values() if session.high}
    assert len(rows) == 7
    for connection in here:
        await bench.disconnect(connection)
    bench.client("last")
    await bench.run_until_idle()
    assert len(sessions) == 10
    assert bench.ledger.registry.limits_met["sessions_max"] == 45
    assert "last" in sessions


async def _connect_and_leave(bench: Bench, key: str, session: str) -> None:
    gone = bench.connection(session, Authority(key, ("submit",)))
    bench.hello(gone, "client", session)
    await bench.disconnect(gone)
    await bench.run_until_idle()


@on_bench(defaults=DEFAULTS._replace(sessions_max=10))
async def test_p7_the_sessions_of_one_key_displace_those_of_no_other(bench: Bench) -> None:
    """Beyond the limit of all sessions, the key that has the most loses its oldest one."""
    for number in range(3):
        await _connect_and_leave(bench, "quiet", f"quiet {number}")
    for number in range(30):
        await _connect_and_leave(bench, "busy", f"busy {number}")
    sessions = bench.dispatcher.clients.sessions
    assert set(sessions) == {*(f"quiet {n}" for n in range(3)), *(f"busy {n}" for n in range(23, 30))}
    assert bench.ledger.registry.limits_met["sessions_max"] == 23


@on_bench(defaults=DEFAULTS._replace(sessions_per_key_max=5))
async def test_p7_the_sessions_of_one_key_have_a_limit(bench: Bench) -> None:
    """A client that connects with another key of its own takes its session along."""
    for number in range(8):
        await _connect_and_leave(bench, "busy", f"busy {number}")
    await _connect_and_leave(bench, "other", "busy 7")
    await _connect_and_leave(bench, "busy", "busy 8")
    assert set(bench.dispatcher.clients.sessions) == {f"busy {number}" for number in range(3, 9)}
    assert bench.ledger.registry.limits_met["sessions_per_key_max"] == 3


@on_bench()
async def test_p7_a_task_that_waits_for_long_is_followed_by_clients_that_are_there(bench: Bench) -> None:
    """A new client for each web request watches one task for days; the task forgets ended clients."""
    (_, key) = await bench.submit(bench.client(), 1, [b"a"])
    for number in range(20):
        connection = bench.client(f"page {number}")
        assert await bench.ask(connection, "broker", "watch", [key]) == []
        assert await bench.ask(connection, "broker", "goodbye") is None
        await bench.disconnect(connection)
    (watching,) = bench.ledger.state.subscribers.values()
    assert len(watching) == 1
    last = bench.client("last")
    assert await bench.ask(last, "broker", "watch", [key]) == []
    assert await bench.ask(last, "broker", "results", 0, 5.0) is WAITING
    await bench.run_all()
    assert last.answer()[1][0][0] == key
    assert bench.ledger.state.subscribers == {}


@on_bench()
async def test_a_client_that_was_idle_for_very_long_submits_as_ever(bench: Bench) -> None:
    """Its connection is still open, but its session and the session's row are gone."""
    connection = bench.client()
    assert (await bench.submit(connection, 1, [b"a"]))[0] is True
    await bench.advance(3 * IDLE_S)
    assert bench.dispatcher.clients.sessions == {}
    assert (await bench.submit(connection, 2, [b"b"]))[0] is True
    assert (await bench.submit(connection, 3, [b"c"]))[0] is True
    assert bench.counts("q") == {"ready": 3}


@on_bench()
async def test_results_are_dropped_when_their_ttl_is_over(bench: Bench) -> None:
    """The ledger keeps each result for its own TTL and no less (P3)."""
    connection = bench.client()
    await bench.submit(connection, 1, [b"a"], 0.0, 5, 1, None, 60.0)
    await bench.run_all()
    await bench.advance(59)
    assert bench.counts("q") == {"succeeded": 1}
    await bench.advance(1)
    assert bench.counts("q") == {}
    assert bench.ledger.state.tasks == {}


@on_bench()
async def test_a_client_that_was_absent_beyond_the_ttl_still_receives_its_result(bench: Bench) -> None:
    """A kept session holds its undelivered results, even if the store may delete them."""
    connection = bench.client()
    accepted = await bench.submit(connection, 1, [b"a"], 0.0, 5, 1, None, 1.0)
    await bench.disconnect(connection)
    await bench.run_all()
    await bench.advance(5)
    assert bench.counts("q") == {}
    _, ((key, state, body, _),) = await bench.ask(bench.client(), "broker", "results", 0, 0.0)
    assert (key, state, pickle.loads(body)) == (accepted[1], 3, b"a")


@on_bench()
async def test_only_clients_submit_and_ask_for_results(bench: Bench) -> None:
    """The master refuses other peers, and invalid calls for results, with a message."""
    for connection in (bench.worker(), bench.connection()):
        assert "role client" in str(await bench.submit(connection, 1, [b"a"]))
        assert "role client" in str(await bench.ask(connection, "broker", "results", 0, 0.0))
    connection = bench.client()
    for args in ((), (0,), ("0", 0.0), (0, math.nan), (0, "1"), (0.5, 1)):
        assert isinstance(await bench.ask(connection, "broker", "results", *args), RemoteRefusal)


def greeted(bench: Bench, session: str = "c") -> tuple[FakeConnection, str]:
    """Return a connection of a client, and the id of its backlog."""
    connection = bench.connection(session)
    return connection, bench.hello(connection, "client", session)["backlog"]


@on_bench()
async def test_a_call_on_a_connection_of_an_ended_session_closes_it(bench: Bench) -> None:
    """The client connects again, and learns from another id of its backlog that ends may be gone."""
    connection, before = greeted(bench)
    await bench.submit(connection, 1, [b"a"])
    assert isinstance(connection.state, ClientSession)
    bench.dispatcher.clients.end(connection.state)
    bench.call(connection, "broker", "results", 0, 0.0)
    await bench.run_until_idle()
    assert connection.aborted
    assert greeted(bench)[1] != before


@on_bench()
async def test_a_client_whose_ends_were_dropped_connects_again(bench: Bench) -> None:
    """Ends of other clients took their place in memory; the client learns that it must ask about its tasks."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(result_backlog, "ROWS_KEPT_IN_ALL_MAX", 1)
        (connection, before), (other, other_before) = greeted(bench), greeted(bench, "another")
        for one in (connection, other):
            await bench.submit(one, 1, [b"a"])
        assert await bench.run_all() == 2
        bench.call(connection, "broker", "results", 0, 0.0)
        bench.call(other, "broker", "results", 0, 0.0)
        await bench.run_until_idle()
    assert (connection.aborted, other.aborted) == (True, False)
    assert (greeted(bench)[1] == before, greeted(bench, "another")[1] == other_before) == (False, True)
    assert bench.dispatcher.clients.bodies.dropped_count == 1


@on_bench()
async def test_the_damaged_session_of_a_client_keeps_the_master_from_starting_with_a_sentence(bench: Bench) -> None:
    """Without it a submit that the client sends again could run twice."""
    for row in (b"", b"\0" * 16 + b"\xff", b"\xff" * 16 + b"c"):
        assert incomplete({-1: row}) == ([-1] if row[:1] == b"\xff" else [])
        with pytest.raises(UnreadableRow, match="The session of a client in the store cannot be read"):
            bench.dispatcher.clients.restore({-1: row}, {})
