"""Defects of the master: the request fails with an error and leaves no state behind, and all others go on."""

from collections.abc import Callable
from typing import Any

import pytest
from tests.master.bench import Bench, done, on_bench

from distq.core import head
from distq.core.leasing import Leasing
from distq.core.ledger import Ledger
from distq.core.registry import Defaults
from distq.core.savepoint import NOTHING_DECIDED
from distq.core.state import LedgerState
from distq.core.sweeper import Sweeper
from distq.core.task_ids import id_text
from distq.master.admin.cancels import CancelTasks
from distq.master.admin.dead_letters import SettleDeadLetters
from distq.master.admin.inspection import ShowTask
from distq.master.admin.queue_limits import SetQueueLimits
from distq.master.admin.schedule_calls import ScheduleAction
from distq.master.admin.schedules import RunSchedule
from distq.master.calls import submit
from distq.master.calls.exchange import ExchangeCall
from distq.master.calls.submit import SubmitTasks
from distq.master.cycle.broker import Broker
from distq.master.cycle.request_guard import LOG_PAUSE_S, PLACES
from distq.master.cycle.requests import FAULT_PAUSE_S, CallRequest, LoseLeases
from distq.master.sessions.clients import IdleTimeout, SendResults
from distq.master.sessions.timeouts import DisconnectTimeout
from distq.master.sessions.watched_tasks import WatchTasks
from distq.master.sessions.workers import ReleaseLeases
from distq.wire.errors import RemoteRefusal


class Fault(Exception):
    """What a mistake in our code raises."""


def failing(*_: Any, **__: Any) -> Any:
    """Stand for a method that always raises."""
    raise Fault


def failing_once(method: Callable[..., Any], *, after: bool) -> Callable[..., Any]:
    """A method that raises at its first call, before or after it has done its work."""
    calls = 0

    def call(*args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 1 and not after:
            raise Fault
        result = method(*args, **kwargs)
        if calls == 1:
            raise Fault
        return result

    return call


def nothing_is_left(bench: Bench) -> None:
    """Check that no decision is left between two cycles."""
    ledger, broker = bench.ledger, bench.broker
    assert ledger.savepoint() == NOTHING_DECIDED
    assert not ledger.pending.claimed
    assert ledger.pending.new_count == 0
    assert not broker._decisions.rows
    assert not bench.dispatcher.schedules.deciding
    for queue in ledger.registry.queues.values():
        assert queue.reserved == 0


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize(
    ("owner", "method"),
    [
        (SubmitTasks, "decide"),
        (SubmitTasks, "_submit"),
        (SubmitTasks, "_note"),
        (Ledger, "submit"),
        (Ledger, "check_room"),
        (Broker, "keep_row"),
        (submit, "instants"),
    ],
    ids=lambda one: getattr(one, "__name__", one),
)
def test_a_submit_that_fails_half_way_is_refused_and_leaves_nothing(
    owner: Any, method: str, monkeypatch: pytest.MonkeyPatch, *, after: bool
) -> None:
    """The repeated submit is accepted as new; another client's submit of the same cycle is accepted too."""

    @on_bench(faulty=True, defaults=Defaults(capacity=20))
    async def scene(bench: Bench) -> None:
        """Two runs of one submit, and a submit of another client."""
        one, other = bench.client("one"), bench.client("other")
        args = (1, [("q", "f"), ("r", "f")], [(0, 2), (1, 1, (5.0, None, None))], [b"a", b"b", b"c"], 0.0)
        monkeypatch.setattr(owner, method, failing_once(getattr(owner, method), after=after))
        bench.call(one, "broker", "submit", *args)
        await bench.cycle()
        answer = one.answer()
        assert answer[0] is False
        assert answer[1] == "INTERNAL_ERROR"
        assert "Nothing of it was done" in answer[2]
        nothing_is_left(bench)
        assert bench.ledger.state.tasks == {}
        assert (await bench.submit(other, 1, [b"x"]))[0] is True
        assert (await bench.ask(one, "broker", "submit", *args))[0] is True
        assert bench.counts("q") == {"ready": 3}
        assert bench.counts("r") == {"delayed": 1}
        assert bench.broker.guard.counts["decide"] == 1

    scene()


@pytest.mark.parametrize("method", ["decide", "answer", "refuse", "give", "expire", "put_back"])
@pytest.mark.parametrize(
    "kind",
    [
        SubmitTasks,
        ExchangeCall,
        SendResults,
        WatchTasks,
        ShowTask,
        ScheduleAction,
        SetQueueLimits,
        CancelTasks,
        SettleDeadLetters,
    ],
)
def test_no_method_of_a_request_ends_the_master(
    kind: type[CallRequest], method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each waiting peer gets an answer or is disconnected, and other peers are served."""

    @on_bench(faulty=True, defaults=Defaults(retries=0))
    async def scene(bench: Bench) -> None:
        """A request of each kind, with one method that always fails, and then others without."""
        with monkeypatch.context() as patch:
            patch.setattr(kind, method, failing, raising=False)
            client = bench.client("faulty")
            bench.worker("v")
            worker = bench.executor(7, "v")
            await bench.submit(client, 1, [b"x"])
            await bench.exchange(worker, want=1)
            await bench.exchange(worker, [(1 << 40 | 1, 1, 3, b"", 0.1, "")], want=1, wait_s=5)
            await bench.ask(bench.client("faulty"), "broker", "results", 0, 1.0)
            await bench.ask(client, "broker", "watch", [1 << 40 | 1])
            for what, options in ASKED:
                await bench.admin(what, **options)
            bench.store.refuse_next = 1
            await bench.submit(client, 2, [b"x"])
            await bench.advance(30)
        bench.store.refuse_next = 0
        nothing_is_left(bench)
        assert (await bench.submit(bench.client("sound"), 1, [b"y"], 0.0, queue="sound"))[0] is True
        bench.worker("w")
        (row,) = (await bench.exchange(bench.executor(1, "w"), want=10))[-1:]
        assert row[4] == b"y" or row[4] == b"x"
        assert "schedules" in await bench.admin("schedule_list")

    scene()


ASKED: list[tuple[str, dict[str, Any]]] = [
    ("show", {"id": id_text(1 << 40 | 1)}),
    ("schedule_put", {"name": "s", "body": b"", "envelope": ("q", "f"), "every": 1.0}),
    ("schedule_pause", {"name": "s"}),
    ("pause", {"queue": "q"}),
    ("resume", {"queue": "q"}),
    ("cancel", {"id": id_text(1 << 40 | 1)}),
    ("dead_retry", {}),
    ("dead_purge", {}),
]


@pytest.mark.parametrize(
    ("kind", "method"),
    [
        (LoseLeases, "decide"),
        (LoseLeases, "answer"),
        (ReleaseLeases, "decide"),
        (ReleaseLeases, "answer"),
        (DisconnectTimeout, "answer"),
        (IdleTimeout, "answer"),
    ],
)
def test_the_end_of_a_lease_is_repeated_after_a_failure(
    kind: type, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No peer waits for the end of a lease, so the master must repeat it by itself."""

    @on_bench(faulty=True)
    async def scene(bench: Bench) -> None:
        """A worker dies with a task, and the client that submitted it goes for good."""
        client, worker = bench.client(), bench.worker()
        executor = bench.executor()
        await bench.submit(client, 1, [b"x"])
        ((key, delivery, *_),) = await bench.exchange(executor, want=1)
        with monkeypatch.context() as patch:
            patch.setattr(kind, method, failing)
            if kind is ReleaseLeases:
                bench.call(worker, "broker", "heartbeat", {"returned": [(key, delivery)]}, 0.0)
                await bench.run_until_idle()
            else:
                await bench.disconnect(executor)
                await bench.disconnect(worker)
            await bench.disconnect(client)
            await bench.advance(1.1 if kind is not IdleTimeout else 4_000)
            assert bench.broker.guard.counts[method] > 0
        await bench.advance(FAULT_PAUSE_S + 3_700)
        assert bench.counts("q") == {"ready": 1}
        assert "c" not in bench.dispatcher.clients.sessions

    scene()


def test_a_scheduled_run_that_fails_pauses_only_its_schedule(monkeypatch: pytest.MonkeyPatch) -> None:
    """The paused schedule shows the reason, and other schedules go on."""

    @on_bench(faulty=True)
    async def scene(bench: Bench) -> None:
        """Two schedules with the same instant, of which one fails."""
        for name in ("one", "two"):
            await bench.admin("schedule_put", name=name, body=b"", envelope=("q", "f"), every=10.0)
        monkeypatch.setattr(RunSchedule, "decide", failing_once(RunSchedule.decide, after=True))
        await bench.advance(10)
        nothing_is_left(bench)
        reply = {row["name"]: row for row in (await bench.admin("schedule_list"))["schedules"]}
        assert "the master failed at this request (Fault)" in reply["one"]["fault"]
        assert (reply["two"]["fault"], reply["two"]["runs"]) == ("", 1)
        assert bench.counts("q") == {"ready": 1}

    scene()


def refuse_to_pack_bad_tasks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the tasks named "bad" have heads that cannot be packed."""
    pack = head.pack

    def packed(envelope: Any, *rest: Any) -> bytes:
        if envelope.name == "bad":
            raise Fault
        whole: bytes = pack(envelope, *rest)
        return whole

    monkeypatch.setattr(head, "pack", packed)


def test_a_task_that_cannot_be_packed_fails_only_its_own_request(monkeypatch: pytest.MonkeyPatch) -> None:
    """The other requests of the cycle succeed."""
    refuse_to_pack_bad_tasks(monkeypatch)

    @on_bench(faulty=True, defaults=Defaults(capacity=20))
    async def scene(bench: Bench) -> None:
        """Three clients, of whom one submits twice, and an executor that settles."""
        bench.worker()
        executor, first = bench.executor(), bench.client("first")
        await bench.submit(first, 1, [b"x"])
        (row,) = await bench.exchange(executor, want=1)
        connections = [bench.client(name) for name in ("a", "b", "c")]
        bench.call(executor, "broker", "exchange", [done(row)], 0, 0.0)
        for connection, name in zip(connections, ("f", "bad", "f"), strict=True):
            bench.call(connection, "broker", "submit", 1, [("q", name)], [(0, 1)], [b"y"], 0.0)
        bench.call(first, "broker", "submit", 2, [("q", "f")], [(0, 1)], [b"z"], 0.0)
        await bench.run_until_idle()
        assert [connection.answer()[0] for connection in (*connections, first)] == [True, False, True, True]
        assert executor.answer() == ([], [])
        assert bench.counts("q") == {"ready": 3, "succeeded": 1}
        nothing_is_left(bench)

    scene()


def test_settlements_noted_in_a_cycle_that_cannot_be_packed_are_noted_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A later cycle decides the rest of their exchange, because one of its tasks was cancelled in the same cycle."""
    refuse_to_pack_bad_tasks(monkeypatch)

    @on_bench(faulty=True, defaults=Defaults(capacity=20))
    async def scene(bench: Bench) -> None:
        """A client aborts the second of two tasks that run, and both end."""
        bench.worker()
        executor, client, other = bench.executor(), bench.client(), bench.client("other")
        await bench.submit(client, 1, [b"x", b"y"])
        rows = await bench.exchange(executor, want=2)
        bench.call(other, "broker", "cancel", [rows[1][0]], True)
        bench.call(executor, "broker", "exchange", [done(row) for row in rows], 0, 0.0)
        bench.call(client, "broker", "submit", 2, [("q", "bad")], [(0, 1)], [b"z"], 0.0)
        await bench.run_until_idle()
        assert client.answer()[0] is False
        assert bench.counts("q")["succeeded"] == 1
        nothing_is_left(bench)

    scene()


@pytest.mark.parametrize("name", ["_succeed", "_apply_change"])
def test_a_stored_change_that_fails_in_memory_stops_no_other_change(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next master reads the stored change."""

    @on_bench(faulty=True)
    async def scene(bench: Bench) -> None:
        """Three tasks are settled together."""
        bench.worker()
        executor = bench.executor()
        await bench.submit(bench.client(), 1, [b"a", b"b", b"c"])
        rows = await bench.exchange(executor, want=3)
        outcome = 0 if name == "_succeed" else 2
        monkeypatch.setattr(LedgerState, name, failing_once(getattr(LedgerState, name), after=False))
        await bench.exchange(executor, [(row[0], row[1], outcome, b"", 0.1, "") for row in rows], want=0)
        assert bench.broker.guard.counts["apply"] == 1
        assert bench.counts("q") == {"leased": 1, "succeeded" if outcome == 0 else "ready": 2}

    scene()


@pytest.mark.parametrize("failing_step", ["sweep", "lease", "read", "push", "note"])
def test_a_change_without_a_request_may_fail_and_is_repeated(
    failing_step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the failing method works again, the master makes up for what was left undone."""

    @on_bench(faulty=True, defaults=Defaults(retries=0))
    async def scene(bench: Bench) -> None:
        """A delayed task is due, run and dead, while a part of the master fails."""
        client = bench.client()
        bench.worker()
        executor = bench.executor()
        with monkeypatch.context() as patch:
            if failing_step == "sweep":
                patch.setattr(Sweeper, "_sweep_failed_upstream", failing)
            elif failing_step == "lease":
                patch.setattr(Leasing, "lease", failing)
            elif failing_step == "push":
                bench.broker.push = failing
            elif failing_step == "note":
                bench.broker.note = failing
            await bench.ask(client, "broker", "submit", 1, [("q", "f")], [(0, 1, (5.0, None, None))], [b"x"], 0.0)
            bench.call(executor, "broker", "exchange", [], 1, 60.0)
            await bench.run_until_idle()
            await bench.advance(10)
            if failing_step == "note":
                ((key, delivery, *_),) = bench.rows(executor)
                await bench.exchange(executor, [(key, delivery, 1, b"", 0.1, "")], want=0)
        bench.broker.push = bench.dispatcher._push
        if failing_step == "read":
            await bench.ask(client, "broker", "watch", [])
            monkeypatch.setattr(WatchTasks, "answer", lambda self, broker, _: broker.read(self, (), failing))
            assert isinstance(await bench.ask(client, "broker", "watch", []), RemoteRefusal)
        await bench.advance(10)
        nothing_is_left(bench)
        assert not bench.counts("q").get("delayed")
        if failing_step != "push":
            assert sum(bench.broker.guard.counts.values()) > 0

    scene()


@on_bench(faulty=True)
async def test_the_same_error_is_counted_each_time_and_logged_once_a_minute(bench: Bench) -> None:
    """A peer may repeat its call a thousand times a second."""
    guard = bench.broker.guard
    connections: list[int] = []
    for number in range(100):
        try:
            failing()
        except Fault as exc:
            guard.note("decide", exc)
        connections.append(len(guard._logged))
        if number == 50:
            bench.clock.at += LOG_PAUSE_S
    assert guard.counts["decide"] == 100
    assert set(connections) == {1}
    assert set(guard.counts) == set(PLACES)
