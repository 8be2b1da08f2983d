"""Requests about single tasks: all facts, why a task does not run, and the stack of a running task."""

import json
from typing import Any

import pytest
from tests.master.bench import START, WAITING, Bench, done, failed, on_bench, restarted

from distq.core.outcome import Outcome
from distq.core.task_ids import id_text
from distq.master.sessions.unknown_names import CHECK_S, NAME_RETRY_S
from distq.wire.errors import RemoteRefusal

FIRST = id_text(1 << 40 | 1)


async def show(bench: Bench, task_id: str = FIRST, what: str = "show") -> Any:
    """Return the master's reply to an operator about a task."""
    return await bench.admin(what, id=task_id)


async def explanation(bench: Bench, task_id: str = FIRST) -> str:
    """Return why a task does not run."""
    return str((await show(bench, task_id))["why"])


async def act(bench: Bench, action: str, **options: Any) -> None:
    """Send an operator's request."""
    assert not isinstance(await bench.admin(action, **options), RemoteRefusal)


@on_bench()
async def test_the_reason_is_the_first_thing_that_is_in_the_way(bench: Bench) -> None:
    """The causes range from the queue's pause to the last busy slot."""
    await bench.submit(bench.client(), 1, [b"a"])
    assert await explanation(bench) == "No worker is connected. `distq worker` starts one."
    other = bench.worker("other", queues=["r"])
    assert "Of 1 worker none serves the queue 'q'" in await explanation(bench)
    bench.worker("plain", tasks=False)
    assert "Of 1 worker of its queue none knows a task 'f' (DISTQ_TASKS)" in await explanation(bench)
    draining = bench.worker("draining")
    await bench.ask(draining, "broker", "heartbeat", {"draining": True})
    assert await explanation(bench) == "Every worker that could run it is draining."
    bench.worker("w", slots=1)
    assert "of 1 that could run it, 1 of them without an executor now" in await explanation(bench)
    connection = bench.executor()
    assert "free slots: 1 of 1." in await explanation(bench)
    await bench.submit(bench.client("d"), 1, [b"b"])
    (row,) = await bench.exchange(connection)
    assert await explanation(bench) == "It runs: w/1 leased it 0.0 s ago, attempt 1."
    second = id_text(row[0] + 1)
    assert await explanation(bench, second) == "No slot is free, of 1 that could run it; ready tasks of its queue: 1."
    await act(bench, "queue_set", queue="q", running=1)
    limited = await explanation(bench, second)
    assert "at most 1 task may be in flight. `distq queue set q --running N` changes the limit." in limited
    await act(bench, "queue_set", queue="q", running=5, rate="1/m")
    await bench.submit(bench.client("e"), 1, [b"c"])
    bench.worker("x")
    await bench.exchange(bench.executor(2, "x"))
    third = id_text(row[0] + 2)
    assert "is at its rate 1/m; the next lease is at 1970-01-12 13:47:40 UTC." in await explanation(bench, third)
    await act(bench, "pause", queue="q", name="f")
    assert "Tasks 'f' are paused on its queue." in await explanation(bench, third)
    await act(bench, "pause", queue="q")
    assert "Its queue 'q' is paused." in await explanation(bench, third)
    assert other.open


@on_bench()
async def test_the_reason_names_the_setting_that_decides(bench: Bench) -> None:
    """The kind of executors is DISTQ_EXECUTOR, other labels are DISTQ_LABELS, and plain items need only a handler."""
    for_threads = ("q", "f", None, None, None, None, None, ("executor:thread", "gpu"))
    await bench.ask(bench.client(), "broker", "submit", 1, [for_threads], [(0, 1)], [b"a"], 0.0)
    bench.worker("processes", labels=["executor:process", "gpu"], plain=False)
    assert await explanation(bench) == (
        "Of 1 worker with its function none has executors of kind thread (DISTQ_EXECUTOR)."
    )
    bench.worker("threads", labels=["executor:thread"], plain=False)
    assert await explanation(bench) == (
        "Of 1 worker with its function and executors of kind thread none has the labels gpu (DISTQ_LABELS)."
    )
    assert await bench.ask(bench.connection(), "work", "put", 1) is None
    (plain,) = (task for task in bench.ledger.state.tasks.values() if task.envelope.name == "plain")
    assert await explanation(bench, id_text(plain.task_key)) == (
        "Of 2 workers of its queue none runs plain items (DISTQ_PLAIN_HANDLER)."
    )


@on_bench()
async def test_the_reason_says_why_a_worker_does_not_know_a_task_and_that_a_restart_may_help(bench: Bench) -> None:
    """The worker's own words are in the sentence that the operator and the client read, until it knows the name."""
    await bench.submit(bench.client(), 1, [b"a"])
    bench.worker("w7")
    connection = bench.executor(1, "w7")
    (row,) = await bench.exchange(connection, want=1)
    unknown = (row[0], row[1], Outcome.UNKNOWN, None, 0.0, "none of its modules has registered it")
    await bench.exchange(connection, [unknown], want=0)
    assert await explanation(bench) == (
        "Of 1 worker of its queue none knows a task 'f' (DISTQ_TASKS). Worker w7 says: none of its modules has "
        "registered it. A worker imports its modules once: restart workers that began before the function was added "
        "or renamed."
    )
    (reason,) = (await bench.ask(bench.client(), "broker", "stuck", [row[0]])).values()
    assert "Worker w7 says: none of its modules has registered it." in reason
    await bench.advance(NAME_RETRY_S + CHECK_S)
    assert "knows a task" not in await explanation(bench)


@on_bench()
async def test_a_worker_of_all_work_queues_is_not_counted_for_a_result_queue(bench: Bench) -> None:
    """It leases nothing from a result queue, so the reason must not say that it leases the item now."""
    bench.worker("all")
    bench.executor(1, "all")
    await bench.ask(bench.connection(), "result", "put", 1)
    assert await explanation(bench) == "It waits on the result queue 'result' until a program takes it."


@on_bench()
async def test_a_client_receives_the_reason_why_no_worker_would_run_its_tasks(bench: Bench) -> None:
    """The reply names one task of each kind, but no task that runs or only waits for its turn."""
    client = bench.client()
    _, first = await bench.submit(client, 1, [b"a", b"b"])
    options = [first, first + 1, 5]
    assert await bench.ask(client, "broker", "stuck", options) == {
        first: "No worker is connected. `distq worker` starts one."
    }
    bench.worker("other", queues=["r"])
    (reason,) = (await bench.ask(client, "broker", "stuck", options)).values()
    assert "Of 1 worker none serves the queue 'q'" in reason
    bench.worker()
    assert await bench.ask(client, "broker", "stuck", options) == {}
    assert isinstance(await bench.ask(client, "broker", "stuck", "x"), RemoteRefusal)


@on_bench()
async def test_a_loss_before_a_success_is_history_and_not_its_reason(bench: Bench) -> None:
    """A cancel has a reason of its own, which follows the cause of the attempt."""
    _, first = await bench.submit(bench.client(), 1, [b"a", b"b"])
    bench.worker()
    connection = bench.executor()
    rows = await bench.exchange(connection, want=2)
    await bench.exchange(connection, [failed(row) for row in rows], want=0)
    await bench.advance(2)
    (row,) = await bench.exchange(connection)
    await bench.exchange(connection, [done(row)], want=0)
    ids = [id_text(first + number) for number in range(2)]
    await bench.admin("cancel", ids=[ids[1]], cause="by ann")
    whys = [(await bench.admin("show", id=one))["why"] for one in ids]
    assert whys == [
        "It has ended: succeeded 0.0 s ago. Before that, an attempt ended: ValueError: no.",
        "It has ended: cancelled 0.0 s ago: by ann.",
    ]


@on_bench()
async def test_the_explanation_of_a_waiting_or_ended_task_has_its_instant_and_cause(bench: Bench) -> None:
    """The reply has the cause of the last attempt."""
    bench.worker()
    connection = bench.executor()
    await bench.submit(bench.client(), 1, [b"a"])
    (row,) = await bench.exchange(connection)
    await bench.exchange(connection, [failed(row)], want=0)
    assert "for attempt 2, after ValueError: no." in await explanation(bench)
    await bench.advance(2)
    (row,) = await bench.exchange(connection)
    await bench.exchange(connection, [failed(row)], want=0)
    reply = await show(bench)
    assert reply["why"].startswith("It has ended: dead 0.0 s ago: ValueError: no. `distq dead retry`")
    assert (reply["failures"], reply["causes"], reply["submitted_at"]) == (2, ["ValueError: no"] * 2, START)
    assert reply["caused_at"] == [START, START + 2]
    assert (reply["attempt"], (await bench.admin("list", states=["dead"]))["tasks"][0]["attempt"]) == (2, 2)
    again = await restarted(bench)
    reply = await show(again)
    assert (reply["causes"], reply["caused_at"]) == (["ValueError: no"] * 2, [None, None])


@on_bench()
async def test_the_progress_of_a_running_attempt_is_shown(bench: Bench) -> None:
    """The reply has only valid progress of the present lease."""
    bench.worker()
    connection = bench.executor()
    await bench.submit(bench.client(), 1, [b"a"])
    (row,) = await bench.exchange(connection)
    reply = json.dumps([0.4, "page 12"]).encode()
    await bench.exchange(connection, [(row[0], row[1], 8, reply, 0.0, "")], want=0)
    assert (await show(bench))["progress"] == (0.4, "page 12")
    for wrong in (b"", b"[2.0, 'x']", b'[2.0, "x"]', b'["a", "b"]', b"[" * 2000, b"\xff", b"7"):
        await bench.exchange(connection, [(row[0], row[1], 8, wrong, 0.0, "")], want=0)
    await bench.exchange(connection, [(row[0], row[1] + 1, 8, json.dumps([0.9, ""]).encode(), 0.0, "")], want=0)
    assert (await show(bench))["progress"] == (0.4, "page 12")
    await bench.exchange(connection, [failed(row)], want=0)
    assert (await show(bench))["progress"] is None
    assert bench.ledger.state.progress == {}


@on_bench()
async def test_the_worker_of_a_running_task_sends_its_stack_to_the_operator(bench: Bench) -> None:
    """The worker receives the request immediately, since its heartbeat waits at the master."""
    supervisor = bench.worker()
    await bench.submit(bench.client(), 1, [b"a"])
    (row,) = await bench.exchange(bench.executor())
    bench.call(supervisor, "broker", "heartbeat", {}, 10.0)
    await bench.run_until_idle()
    operator = bench.connection()
    bench.hello(operator, "cli", "")
    assert await bench.ask(operator, "broker", "admin", "stack", {"id": FIRST}) is WAITING
    assert supervisor.answer() == {"abort": [], "stacks": [(row[0], row[1])]}
    report = {"stacks": [(row[0], row[1], "File ..., line 3 in f")]}
    await bench.ask(supervisor, "broker", "heartbeat", report, 0.0)
    assert operator.answer() == {"stack": "File ..., line 3 in f"}


@on_bench()
async def test_a_worker_that_does_not_say_where_a_task_is_is_not_waited_for(bench: Bench) -> None:
    """The master waits at most five seconds."""
    bench.worker()
    await bench.submit(bench.client(), 1, [b"a"])
    await bench.exchange(bench.executor())
    operator = bench.connection()
    bench.hello(operator, "cli", "")
    await bench.ask(operator, "broker", "admin", "stack", {"id": FIRST})
    await bench.advance(5)
    assert "has not answered within 5 s" in str(operator.answer())
    for _ in range(3):
        await bench.ask(operator, "broker", "admin", "stack", {"id": FIRST})
        await bench.advance(5)
    (session,) = bench.workers.sessions.values()
    assert (bench.workers._stack_waits, len(session.stacks)) == ({}, 1), "a request without an answer is forgotten"


@pytest.mark.parametrize("what", ["show", "stack"])
@pytest.mark.parametrize("task_id", ["1-ffff", "no id", "", None, 7])
def test_a_request_for_an_unknown_task_is_refused(what: str, task_id: Any) -> None:
    """The master refuses an invalid id too."""

    @on_bench()
    async def scene(bench: Bench) -> None:
        """Send one request."""
        answer = await show(bench, task_id, what)
        assert isinstance(answer, RemoteRefusal)
        assert "1-ffff (any more)" in str(answer) if task_id == "1-ffff" else "hexadecimal" in str(answer)

    scene()


@on_bench()
async def test_a_task_that_does_not_run_has_no_stack_and_the_error_explains_why(bench: Bench) -> None:
    """The message has the text of `why`."""
    await bench.submit(bench.client(), 1, [b"a"])
    assert "does not run on a worker. No worker is connected." in str(await show(bench, what="stack"))


@on_bench()
async def test_a_task_is_found_by_its_unique_key_until_it_is_dropped(bench: Bench) -> None:
    """An integration knows its own key before the master has given an id."""
    keys = [(None, None, "kept", 5.0, "return"), (None, None, "released", None, "return")]
    entries = [(0, 1, None, key) for key in keys]
    await bench.ask(bench.client(), "broker", "submit", 1, [("q", "f")], entries, [b"a", b"b"], 0.0)
    assert (await bench.admin("show", queue="q", unique_key="kept", bodies=True))["payload"] == b"a"
    assert (await bench.admin("show", queue="q", unique_key="released"))["id"] == id_text(1 << 40 | 2)
    await bench.run_all()
    await bench.advance(60)
    assert (await bench.admin("show", queue="q", unique_key="kept"))["state"] == "succeeded"
    for queue, key in (("q", "released"), ("r", "kept"), ("q", "other")):
        assert "does not know a task of the queue" in str(await bench.admin("show", queue=queue, unique_key=key))
    for wrong in ({"unique_key": "kept"}, {"unique_key": 5, "queue": "q"}, {"unique_key": "", "queue": "q"}):
        assert "is a text of" in str(await bench.admin("show", **wrong))
    again = await restarted(bench)
    assert (await again.admin("show", queue="q", unique_key="kept"))["state"] == "succeeded"
    await again.advance(4000)
    assert "does not know" in str(await again.admin("show", queue="q", unique_key="kept"))
