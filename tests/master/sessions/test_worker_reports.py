"""Supervisors' reports about tasks: one was killed at its time limit, others are returned unstarted."""

from typing import Any

from tests.master.bench import Bench, done, on_bench

from distq.core.head import unpack_dead
from distq.tasks.failure import TimeLimitExceeded, exception_of


def overrun(running: Any) -> dict[str, Any]:
    """Return the heartbeat's report of an executor that was killed at its task's limit."""
    reply = {"index": 1, "cause": "exceeded time limit 30 s", "kind": "timeout", "running": running, "stack": "File x"}
    return {"exited": [reply]}


@on_bench()
async def test_a_task_killed_at_its_limit_has_failed_and_the_others_go_back(bench: Bench) -> None:
    """It is retried like any failed task; no task counts as lost."""
    supervisor, _, rows = await bench.lease(3)
    await bench.ask(supervisor, "broker", "heartbeat", overrun(rows[0][:2]))
    assert bench.counts("q") == {"ready": 2, "delayed": 1}
    counters = bench.counters("q", "f")
    assert (counters.attempts["timeout"], counters.attempts["lost"], counters.attempts["returned"]) == (1, 0, 2)


@on_bench()
async def test_a_timed_out_task_without_retries_left_is_a_dead_letter_with_its_stack(bench: Bench) -> None:
    """The client's exception is TimeLimitExceeded, with the stack as its cause."""
    supervisor, _, rows = await bench.lease(1)
    await bench.ask(supervisor, "broker", "heartbeat", overrun(rows[0][:2]))
    await bench.advance(5)
    connection = bench.executor(2)
    (row,) = await bench.exchange(connection)
    reply = overrun(row[:2])
    reply["exited"][0]["index"] = 2
    await bench.ask(supervisor, "broker", "heartbeat", reply)
    assert bench.counts("q") == {"dead": 1}
    (body,) = await bench.store.read([row[0]])
    exception = exception_of(unpack_dead(body or b"").error, None)
    assert isinstance(exception, TimeLimitExceeded)
    assert "File x" in str(exception.__cause__)


@on_bench()
async def test_a_timeout_report_is_repeated_after_a_refused_commit(bench: Bench) -> None:
    """The master tries the commit again, and the failure counts once."""
    supervisor, _, rows = await bench.lease(2)
    bench.store.refuse_next = 1
    await bench.ask(supervisor, "broker", "heartbeat", overrun(rows[0][:2]))
    assert bench.counts("q") == {"leased": 2}
    await bench.advance(1)
    assert bench.counts("q") == {"ready": 1, "delayed": 1}
    assert bench.counters("q", "f").attempts["timeout"] == 1


@on_bench()
async def test_returned_tasks_are_ready_immediately(bench: Bench) -> None:
    """A later report of their executor about them changes nothing."""
    supervisor, connection, rows = await bench.lease(3)
    back = [tuple(row[:2]) for row in rows[1:]]
    await bench.ask(supervisor, "broker", "heartbeat", {"returned": back})
    assert bench.counts("q") == {"ready": 2, "leased": 1}
    other = bench.executor(2)
    assert len(await bench.exchange(other, want=5)) == 2
    await bench.ask(supervisor, "broker", "heartbeat", {"returned": back})
    assert bench.counts("q") == {"leased": 3}
    await bench.exchange(connection, [done(rows[0])], want=0)
    assert bench.counts("q") == {"leased": 2, "succeeded": 1}


@on_bench()
async def test_a_worker_cannot_return_the_tasks_of_another(bench: Bench) -> None:
    """The master also ignores a value that is no list of deliveries."""
    _, _, rows = await bench.lease(1)
    other = bench.worker("x")
    reports: list[Any] = [[tuple(rows[0][:2])], 7, [7], [(1,)], [([], {})], [(rows[0][0], "1")], [(99, 1)]]
    for returned in reports:
        await bench.ask(other, "broker", "heartbeat", {"returned": returned})
        assert other.answer() == {"abort": []}
    assert bench.counts("q") == {"leased": 1}
