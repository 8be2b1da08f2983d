"""Worker sessions: hello, heartbeats, and the ends of executors, connections and leases."""

from typing import Any

import pytest
from tests.master.bench import LEASE_S, WAITING, Bench, done, on_bench, restarted

from distq.core.counters import OTHER
from distq.core.lease_journal import POOLS_COUNTED_MAX
from distq.core.ranges import COUNT_MAX
from distq.core.task_ids import id_text
from distq.master.sessions.timeouts import WHOLE_WORKER_LOST
from distq.wire.errors import RemoteRefusal


def end(index: int, running: Any = None, cause: str = "killed by SIGKILL") -> dict[str, Any]:
    """Return the heartbeat's report of an executor that has ended."""
    return {"exited": [{"index": index, "cause": cause, "kind": "signal", "running": running}]}


@on_bench()
async def test_the_answer_to_hello_has_the_protocol_the_lease_and_the_master(bench: Bench) -> None:
    """The reply has the protocol, the lease, and the identity of the master."""
    greeting = bench.hello(bench.connection(), "worker", "w", pool="gpu", slots=4, host="h", pid=7, plain=True)
    assert greeting["protocol"] == 1
    assert greeting["lease_s"] == LEASE_S
    session = bench.workers.sessions["w"]
    assert (session.pool, session.slots, session.host, session.pid) == ("gpu", 4, "h", 7)


@on_bench()
async def test_a_protocol_out_of_range_is_refused_with_both_versions(bench: Bench) -> None:
    """The message names both versions and the action to take."""
    connection = bench.connection()
    for protocol in ([2, 3], [0, 0], "1", None, [1]):
        bench.call(
            connection, "broker", "hello", {"role": "worker", "protocol": protocol, "session": "w", "version": "9.9"}
        )
        assert "9.9" in str(connection.answer())
        assert "Upgrade the older" in str(connection.answer())
    assert bench.workers.sessions == {}
    bench.call(connection, "broker", "hello", {"role": "worker", "protocol": [1, 4], "session": "w"})
    assert connection.answer()["protocol"] == 1


@on_bench()
async def test_an_invalid_hello_is_refused(bench: Bench) -> None:
    """The master refuses a missing dict, session or role, invalid queues, and a second hello on one connection."""
    connection = bench.connection()
    infos: list[Any] = [
        None,
        7,
        {"protocol": [1, 1], "role": "king", "session": "w"},
        {"protocol": [1, 1], "role": "worker"},
        {"protocol": [1, 1], "role": "client", "session": 7},
        {"protocol": [1, 1], "role": "worker", "session": "w", "queues": ["a", 7]},
        {"protocol": [1, 1], "role": "worker", "session": "w", "queues": ["\ud800"]},
        {"protocol": [1, 1], "role": "worker", "session": "w", "queues": ["q" * 100]},
    ]
    for info in infos:
        bench.call(connection, "broker", "hello", info)
        assert isinstance(connection.answer(), RemoteRefusal), info
    assert isinstance(bench.hello(connection, "client", "c"), dict)
    assert "once" in str(bench.hello(connection, "worker", "w"))
    assert "a connection of its own" in str(await bench.ask(connection, "work", "get_nowait"))


@on_bench()
async def test_names_with_characters_that_no_page_can_show_are_changed(bench: Bench) -> None:
    """Half a surrogate pair in a worker's name must not break the metrics."""
    bench.worker("w", name="a\ud800", pool=7, slots="many")
    session = bench.workers.sessions["w"]
    assert (session.name, session.pool, session.slots) == ("a?", "default", 0)


@on_bench()
async def test_heartbeats_renew_every_lease(bench: Bench) -> None:
    """A task may run as long as its worker sends heartbeats."""
    supervisor, connection, (row,) = await bench.lease()
    for _ in range(10):
        await bench.advance(LEASE_S - 1)
        answer = await bench.ask(supervisor, "broker", "heartbeat", {"busy": 1, "slots": 2, "memory_bytes": 5})
        assert answer == {"abort": []}
    assert bench.workers.sessions["w"].busy == 1
    await bench.exchange(connection, [done(row)], want=0)
    assert bench.counters("q", "f").redeliveries == {}


@on_bench()
async def test_a_silent_worker_loses_all_its_leases(bench: Bench) -> None:
    """Other workers receive its tasks; when it reports again it starts a new session."""
    supervisor, connection, rows = await bench.lease(2)
    bench.worker("other")
    other = bench.executor(1, "other")
    await bench.advance(LEASE_S - 0.1)
    await bench.ask(bench.connection(), "broker", "hello", {"role": "worker", "protocol": [1, 1], "session": "other"})
    assert bench.counts("q") == {"leased": 2}
    await bench.advance(0.2)
    assert bench.counts("q") == {"ready": 2}
    assert bench.counters("q", "f").redeliveries == {"lease": 2}
    assert bench.broker.ledger.leasing.journal.expired == {"default": 2}
    assert "hello() with role worker again" in str(await bench.ask(supervisor, "broker", "heartbeat", {}))
    assert await bench.exchange(connection, [done(rows[0])], want=0) == []
    assert bench.counts("q") == {"ready": 1, "succeeded": 1}
    bench.worker("other")
    (again,) = await bench.exchange(other, want=2)
    assert (again[0], again[2]) == (rows[1][0], 2)


@on_bench()
async def test_p7_pools_that_workers_make_up_are_counted_together(bench: Bench) -> None:
    """The first hundred pools have their own series, so that pod names in pools do not add more."""
    for number in range(POOLS_COUNTED_MAX + 20):
        await bench.submit(bench.client(), number + 1, [b"a"])
        bench.worker(f"w{number}", pool=f"pool-{number}")
        assert await bench.exchange(bench.executor(1, f"w{number}"))
        await bench.advance(LEASE_S + 0.2)
        assert bench.counts("q")["ready"] == 1
        await bench.ask(bench.client(), "broker", "cancel", list(bench.ledger.state.tasks), False)
    expired = bench.ledger.leasing.journal.expired
    assert (len(expired), expired["pool-0"], expired[OTHER]) == (POOLS_COUNTED_MAX + 1, 1, 20)


@on_bench()
async def test_an_idle_executor_of_a_session_that_has_ended_is_given_nothing(bench: Bench) -> None:
    """A frozen worker's waiting exchange would take a task and never return it."""
    bench.worker()
    frozen = bench.executor()
    assert await bench.exchange(frozen, wait_s=1000) is WAITING
    await bench.advance(LEASE_S + 1)
    assert bench.rows(frozen) == []
    await bench.submit(bench.client(), 1, [b"a"])
    assert bench.counts("q") == {"ready": 1}
    assert await bench.exchange(frozen, wait_s=1000) is WAITING  # thawed: its supervisor has not reported yet
    bench.worker()
    await bench.run_until_idle()
    assert len(bench.rows(frozen)) == 1


@on_bench()
async def test_only_the_running_task_is_blamed_for_an_executors_end(bench: Bench) -> None:
    """The other tasks go back as if they had never been leased."""
    supervisor, connection, rows = await bench.lease(3)
    await bench.ask(supervisor, "broker", "heartbeat", end(1, rows[1][:2]))
    lost = [bench.ledger.state.tasks[row[0]].lost for row in rows]
    assert lost == [0, 1, 0]
    assert bench.ledger.state.tasks[rows[1][0]].causes == ["killed by SIGKILL"]
    assert bench.counters("q", "f").redeliveries == {"executor": 1}
    await bench.disconnect(connection)
    await bench.advance(2)
    assert [bench.ledger.state.tasks[row[0]].lost for row in rows] == [0, 1, 0]


@on_bench()
async def test_an_executor_that_ran_nothing_blames_nothing(bench: Bench) -> None:
    """Recycling between two tasks costs no delivery."""
    supervisor, _, rows = await bench.lease(2)
    await bench.ask(supervisor, "broker", "heartbeat", end(1))
    assert [bench.ledger.state.tasks[row[0]].lost for row in rows] == [0, 0]
    assert bench.counts("q") == {"ready": 2}


@on_bench()
async def test_a_socket_that_outlives_its_executor_is_given_nothing(bench: Bench) -> None:
    """A child process of the task may keep it open; the executor's last report counts."""
    supervisor, connection, (row,) = await bench.lease()
    assert await bench.exchange(connection, wait_s=100) is WAITING
    await bench.ask(supervisor, "broker", "heartbeat", end(1, row[:2]))
    assert bench.rows(connection) == []
    assert bench.counts("q") == {"ready": 1}
    assert await bench.exchange(connection, [done(row)], want=5, wait_s=100) == []
    assert bench.counts("q") == {"succeeded": 1}


@on_bench()
async def test_the_tasks_of_closed_sockets_are_lost_after_a_second(bench: Bench) -> None:
    """A lost worker may connect again within a second; then its tasks count as lost."""
    supervisor, connection, (row,) = await bench.lease()
    await bench.disconnect(connection)
    await bench.disconnect(supervisor)
    await bench.advance(0.9)
    assert bench.counts("q") == {"leased": 1}
    await bench.advance(0.2)
    assert bench.counts("q") == {"ready": 1}
    assert bench.counters("q", "f").redeliveries == {"connection": 1}
    assert bench.ledger.state.tasks[row[0]].causes == [WHOLE_WORKER_LOST]


@on_bench()
async def test_p2_a_broken_connection_does_not_run_a_task_twice(bench: Bench) -> None:
    """The task runs on while the connected supervisor reports no end of its executor."""
    supervisor, connection, (row,) = await bench.lease()
    await bench.disconnect(connection)
    for _ in range(10):
        await bench.ask(supervisor, "broker", "heartbeat", {})
        await bench.advance(10)
    assert bench.counts("q") == {"leased": 1}
    again = bench.executor(1, holds=[row[:2]])
    assert await bench.exchange(again, [done(row)], want=0) == []
    assert bench.counts("q") == {"succeeded": 1}
    assert bench.counters("q", "f").redeliveries == {}


@on_bench()
async def test_p9_a_waiting_executor_of_a_draining_worker_gets_an_empty_reply_immediately(bench: Bench) -> None:
    """An executor that waits for tasks would otherwise wait until the drain ends."""
    supervisor = bench.worker()
    connection = bench.executor()
    assert await bench.exchange(connection, wait_s=100) is WAITING
    await bench.ask(supervisor, "broker", "heartbeat", {"draining": True})
    assert bench.rows(connection) == []


@on_bench()
async def test_an_executor_that_connects_again_keeps_the_tasks_that_it_holds(bench: Bench) -> None:
    """A task that it does not know, because the reply was lost, goes back uncounted."""
    _, connection, rows = await bench.lease(3)
    await bench.disconnect(connection)
    again = bench.executor(1, holds=[rows[0][:2], (rows[1][0], 99)])
    await bench.run_until_idle()
    await bench.advance(5)
    assert bench.counts("q") == {"ready": 2, "leased": 1}
    assert bench.counters("q", "f").redeliveries == {}
    assert await bench.exchange(again, [done(rows[0])], want=0) == []
    assert bench.counts("q") == {"ready": 2, "succeeded": 1}


@on_bench()
async def test_the_connection_that_an_executor_has_given_up_is_served_no_more(bench: Bench) -> None:
    """The master has not seen its end; a task sent there would be lost while the executor lives."""
    bench.worker()
    old = bench.executor()
    assert await bench.exchange(old, wait_s=100) is WAITING
    new = bench.executor()
    assert old.aborted
    await bench.submit(bench.client(), 1, [b"a"])
    assert old.waits
    assert bench.counts("q") == {"ready": 1}
    assert len(await bench.exchange(new)) == 1
    await bench.disconnect(old)
    await bench.advance(2)
    assert bench.counts("q") == {"leased": 1}


@on_bench()
async def test_executors_that_connect_before_their_supervisor_wait_for_its_hello(bench: Bench) -> None:
    """Before the worker's hello the master does not know its queues and names."""
    early = bench.executor()
    assert await bench.exchange(early, wait_s=100) is WAITING
    client = bench.client()
    await bench.submit(client, 1, [b"a"], queue="other")
    await bench.submit(client, 2, [b"b"], queue="mine")
    assert early.waits
    bench.worker(queues=["mine"])
    await bench.run_until_idle()
    ((_, _, _, _, body),) = bench.rows(early)
    assert body == b"b"


@on_bench()
async def test_a_worker_that_dies_whole_loses_its_leases_after_a_second(bench: Bench) -> None:
    """All its sockets are closed: the master does not wait for the end of its lease."""
    supervisor, connection, _ = await bench.lease(2)
    await bench.disconnect(connection)
    await bench.disconnect(supervisor)
    await bench.advance(1.1)
    assert bench.counts("q") == {"ready": 2}
    assert bench.workers.sessions == {}


@on_bench()
async def test_a_supervisor_that_comes_back_within_the_second_keeps_everything(bench: Bench) -> None:
    """The end of the old connection then changes nothing."""
    supervisor, _, _ = await bench.lease()
    again = bench.worker()
    await bench.disconnect(supervisor)
    await bench.advance(5)
    assert bench.counts("q") == {"leased": 1}
    assert await bench.ask(again, "broker", "heartbeat", {}) == {"abort": []}


@on_bench()
async def test_a_worker_that_drains_is_given_nothing_more(bench: Bench) -> None:
    """The worker may finish the tasks that it holds."""
    supervisor, connection, (row,) = await bench.lease()
    await bench.ask(supervisor, "broker", "heartbeat", {"draining": True})
    await bench.submit(bench.client(), 2, [b"b"])
    assert await bench.exchange(connection, [done(row)], wait_s=5) is WAITING
    assert bench.counts("q") == {"ready": 1, "succeeded": 1}


@on_bench()
async def test_reports_that_make_no_sense_change_nothing(bench: Bench) -> None:
    """The heartbeat renews despite an unknown executor, no list, no dict, or wrong types."""
    supervisor, _, (row,) = await bench.lease()
    reports: list[Any] = [7, {"exited": 7}, {"exited": [7, {}]}, end(99), {"exited": [{"index": "x"}]}, {"busy": -1}]
    for report in reports:
        assert await bench.ask(supervisor, "broker", "heartbeat", report) == {"abort": []}
    assert bench.counts("q") == {"leased": 1}
    await bench.ask(supervisor, "broker", "heartbeat", end(1, ["x"]))
    assert bench.ledger.state.tasks[row[0]].lost == 0


@on_bench()
async def test_a_task_that_kills_its_executors_is_a_dead_letter_with_its_causes(bench: Bench) -> None:
    """P5: it is dead after `max_deliveries`, and its causes say how each executor ended."""
    supervisor = bench.worker()
    client = bench.client()
    await bench.submit(client, 1, [b"poison"])
    for index in (1, 2, 3):
        (row,) = await bench.exchange(bench.executor(index))
        await bench.ask(supervisor, "broker", "heartbeat", end(index, row[:2], f"exit code {index}"))
    assert bench.counts("q") == {"dead": 1}
    _, ((_, state, _, causes),) = await bench.ask(client, "broker", "results", 0, 0)
    assert (state, causes) == (4, ["exit code 1", "exit code 2", "exit code 3"])


@on_bench()
async def test_a_task_that_requires_labels_goes_to_a_worker_with_them(bench: Bench) -> None:
    """Other workers receive the tasks behind it; after a restart it still requires the labels."""
    envelopes = [("q", "f", None, None, None, None, None, ("gpu", "eu")), ("q", "f")]
    await bench.ask(bench.client(), "broker", "submit", 1, envelopes, [(0, 1), (1, 1)], [b"a", b"b"], 0.0)
    bench.worker("plain")
    bench.worker("half", labels=["gpu"])
    assert [row[4] for row in await bench.exchange(bench.executor(1, "half"), want=5)] == [b"b"]
    assert await bench.exchange(bench.executor(1, "plain")) == []
    reply = await bench.admin("show", id=id_text(1 << 40 | 1))
    assert reply["why"] == "Of 2 workers with its function none has the labels eu, gpu (DISTQ_LABELS)."
    again = await restarted(bench)
    again.worker("whole", labels=["eu", "gpu", "fast"])
    assert [row[4] for row in await again.exchange(again.executor(1, "whole"), want=5)] == [b"a", b"b"]


@pytest.mark.parametrize("requires", [("a,b",), ("",), (7,), tuple(map(str, range(17))), ("x" * 201,)])
def test_invalid_labels_are_refused(requires: tuple[Any, ...]) -> None:
    """The master refuses invalid labels with a message."""

    @on_bench()
    async def scene(bench: Bench) -> None:
        """Send one submit."""
        envelope = ("q", "f", None, None, None, None, None, requires)
        answer = await bench.ask(bench.client(), "broker", "submit", 1, [envelope], [(0, 1)], [b"a"], 0.0)
        assert isinstance(answer, RemoteRefusal)

    scene()


@on_bench()
async def test_tasks_that_ended_unsettled_in_a_dead_executor_are_counted_as_lost_too(bench: Bench) -> None:
    """Its supervisor names the last task and those before it; unstarted tasks go back uncounted."""
    supervisor, _, rows = await bench.lease(3)
    reply = end(1, rows[1][:2])
    reply["exited"][0]["begun"] = [rows[0][:2], "x", [1]]
    await bench.ask(supervisor, "broker", "heartbeat", reply)
    assert [bench.ledger.state.tasks[row[0]].lost for row in rows] == [1, 1, 0]


@on_bench()
async def test_tasks_whose_lease_alone_kills_executors_become_dead_letters(bench: Bench) -> None:
    """It had begun no task: all its leased tasks are counted, and then leased alone."""
    supervisor, _, (row,) = await bench.lease()
    for index in range(1, 7):
        reply = end(index)
        reply["exited"][0]["unexplained"] = True
        await bench.ask(supervisor, "broker", "heartbeat", reply)
        if bench.counts("q") == {"dead": 1}:
            break
        await bench.exchange(bench.executor(index + 1))
    assert index == bench.ledger.state.dead[row[0]].envelope.max_deliveries


@on_bench()
async def test_a_task_that_was_cancelled_while_its_worker_was_away_is_stopped_when_it_is_back(bench: Bench) -> None:
    """It would otherwise run on without use and keep its slot."""
    supervisor, connection, (row,) = await bench.lease()
    await bench.disconnect(connection)
    await bench.disconnect(supervisor)
    await bench.advance(LEASE_S + 2)
    assert bench.counts("q") == {"ready": 1}
    await bench.ask(bench.client("other"), "broker", "cancel", [row[0]], False)
    supervisor = bench.connection()
    bench.hello(supervisor, "worker", "w", tasks=True, slots=1, holds=[(1, *row[:2])])
    assert await bench.ask(supervisor, "broker", "heartbeat", {}) == {"abort": [row[:2]]}


@on_bench()
async def test_a_workers_own_values_are_cut_to_what_pages_can_show(bench: Bench) -> None:
    """Hello and heartbeats may have numbers of any size and kind; the metrics page and the API still work."""
    fields = ("slots", "busy", "pid", "memory_bytes", "memory_limit_bytes", "seats", "index")
    absurd_values: tuple[Any, ...] = (
        10**5_000,
        -(10**5_000),
        float("nan"),
        float("inf"),
        "9",
        None,
        True,
        b"1",
        [1],
        {},
    )
    for number, absurd in enumerate(absurd_values):
        connection = bench.worker(f"w{number}", slots=absurd, pid=absurd)
        bench.call(connection, "broker", "heartbeat", dict.fromkeys(fields, absurd), absurd)
        await bench.run_until_idle()
    for session in bench.workers.sessions.values():
        for value in (session.slots, session.busy, session.pid, session.memory_bytes or 0):
            assert type(value) is int
            assert 0 <= value <= COUNT_MAX
            assert len(f"{value} {float(value)}") < 60
    refused = bench.hello(bench.connection(), "client", "\ud800")
    assert "half of a surrogate pair" in str(refused)
    assert "1 to 200 bytes" in str(bench.hello(bench.connection(), "executor", "x" * 201))
