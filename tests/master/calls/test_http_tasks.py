"""Tasks of HTTP clients: submitted once, found when they have ended, cancelled; the answer to a submit means stored."""

import json
import pickle
from typing import Any

import pytest
from tests.master.bench import DEFAULTS, Bench, done, failed, on_bench, restarted
from tests.web.http_bench import HttpBench

from distq.core.failure import TEXT_PROTOCOL
from distq.core.task_ids import task_key_of


async def leased(bench: Bench) -> tuple[Any, list[Any]]:
    """Return an executor and the rows that it leases."""
    bench.worker()
    executor = bench.executor()
    return executor, await bench.exchange(executor, want=100)


def as_json(row: Any, value: object) -> tuple[Any, ...]:
    """Return the settle of a row: success with a result in JSON."""
    return (row[0], row[1], 0, json.dumps(value).encode(), 0.1, "")


@on_bench()
async def test_a_task_is_submitted_run_and_found(bench: Bench) -> None:
    """The worker gets the arguments as JSON, and the client gets the result as JSON."""
    http = HttpBench(bench)
    answer = await http.submit({"args": [1, "é"], "kwargs": {"to": None}, "headers": {"tenant": "acme"}})
    task_id = answer.json()["id"]
    assert (answer.status_code, answer.json()["created"]) == (201, True)
    assert answer.headers["location"] == f"/api/v1/tasks/{task_id}"
    assert (await http.task(task_id))["state"] == "ready"
    executor, (row,) = await leased(bench)
    assert json.loads(row[4]) == {"args": [1, "é"], "kwargs": {"to": None}}
    assert ((await http.task(task_id))["state"], (await http.task(task_id))["ended"]) == ("leased", False)
    await bench.exchange(executor, [as_json(row, {"sum": [1.5]})], want=0)
    task = await http.task(task_id)
    assert (task["state"], task["ended"], task["result"], task["result_format"]) == (
        *("succeeded", True),
        {"sum": [1.5]},
        "json",
    )


@on_bench()
async def test_the_answer_to_a_submit_comes_after_the_commit(bench: Bench) -> None:
    """A submit that the store refuses is a 503, and leaves no task and no idempotency key behind."""
    http = HttpBench(bench)
    bench.store.refuse_next = 1
    refused = await http.submit(idempotency_key="k")
    assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
    assert "the disk is full" in refused.json()["detail"].lower()
    assert bench.counts("q") == {}
    accepted = await http.submit(idempotency_key="k")
    assert accepted.status_code == 201
    assert task_key_of(accepted.json()["id"]) in bench.store._rows


@on_bench()
async def test_the_same_key_is_answered_with_the_same_task(bench: Bench) -> None:
    """It is so in one cycle, after a restart, after the end of the task, and until its result goes."""
    http = HttpBench(bench)
    body = {"args": [1], "idempotency_key": "order/7", "result_ttl_s": 60}
    first, second = [http.start("POST", "/api/v1/tasks", json={"name": "f", "queue": "q", **body}) for _ in range(2)]
    await http.settle()
    task_id = first.result().json()["id"]
    assert [one.result().status_code for one in (first, second)] == [201, 200]
    assert second.result().json() == {"id": task_id, "created": False}
    again = HttpBench(await restarted(bench))
    assert (await again.submit({"result_ttl_s": 60, "args": [1]}, idempotency_key='"order/7"')).json()["id"] == task_id
    assert await again.bench.run_all() == 1
    assert (await again.submit(body)).json()["id"] == task_id
    ended = HttpBench(await restarted(again.bench))
    assert (await ended.submit(body)).json() == {"id": task_id, "created": False}
    await ended.bench.advance(61)
    fresh = await ended.submit(body)
    assert fresh.status_code == 201
    assert fresh.json()["id"] != task_id


@on_bench()
async def test_the_same_key_with_another_request_is_refused(bench: Bench) -> None:
    """Form and order of the body do not count."""
    http = HttpBench(bench)
    await http.submit({"args": [1], "priority": 3}, idempotency_key="k")
    other = await http.submit({"args": [2], "priority": 3}, idempotency_key="k")
    assert (other.status_code, other.json()["code"]) == (422, "IDEMPOTENCY_KEY_REUSED")
    same = b'{"priority": 3,  "args": [1], "retries": null, "queue": "q", "name": "f", "idempotency_key": "k"}'
    json_type = {"Content-Type": "application/json; charset=UTF-8"}
    assert (await http.ask("POST", "/api/v1/tasks", content=same, headers=json_type)).status_code == 200
    assert bench.counts("q") == {"ready": 1}


@on_bench()
async def test_keys_in_header_and_body_must_agree(bench: Bench) -> None:
    """A key of another form is refused, too, and so is a second header."""
    http = HttpBench(bench)
    assert (await http.submit({"idempotency_key": "a"}, idempotency_key="b")).status_code == 422
    assert (await http.submit({"idempotency_key": "a"}, idempotency_key="a")).status_code == 201
    for wrong in ("", "two words", '"', "x" * 129):
        assert (await http.submit(idempotency_key=wrong)).status_code == 400, wrong
    twice = [("Idempotency-Key", "a"), ("Idempotency-Key", "a")]
    assert (await http.ask("POST", "/api/v1/tasks", json={"name": "f"}, headers=twice)).status_code == 400
    returns = {"idempotency_key": "c", "unique_key": "u", "on_conflict": "return"}
    assert "leave the idempotency key out" in (await http.submit(returns)).json()["detail"]


@on_bench()
async def test_a_unique_key_in_use_is_a_conflict(bench: Bench) -> None:
    """The answer names the other task; the client may ask for that task, or replace it."""
    http = HttpBench(bench)
    first = (await http.submit({"unique_key": "u"})).json()["id"]
    refused = await http.submit({"unique_key": "u"})
    assert (refused.status_code, refused.json()["task"], refused.json()["code"]) == (409, first, "TASK_EXISTS")
    returned = await http.submit({"unique_key": "u", "on_conflict": "return"})
    assert (returned.status_code, returned.json()) == (200, {"id": first, "created": False})
    replaced = await http.submit({"unique_key": "u", "on_conflict": "replace"})
    assert (replaced.status_code, (await http.task(first))["state"]) == (201, "cancelled")


@on_bench()
async def test_a_full_queue_asks_to_come_again(bench: Bench) -> None:
    """The bench's queues hold six tasks."""
    http = HttpBench(bench)
    assert [(await http.submit()).status_code for _ in range(7)] == [201] * 6 + [503]
    full = await http.submit()
    assert (full.json()["code"], full.headers["retry-after"]) == ("QUEUE_FULL", "1")
    assert "DISTQ_CAPACITY" in full.json()["detail"]
    assert (await http.submit({"args": ["x" * 1000], "queue": "other"})).status_code == 413


@on_bench()
async def test_requests_wait_for_the_end_of_a_task(bench: Bench) -> None:
    """Each is answered when the task ends, or when its own time is over."""
    http = HttpBench(bench)
    task_id = (await http.submit()).json()["id"]
    path = f"/api/v1/tasks/{task_id}"
    waiting = [http.start("GET", f"{path}?wait=30s") for _ in range(20)]
    short = http.start("GET", f"{path}?wait=500ms")
    await http.settle()
    assert not any(one.done() for one in (*waiting, short))
    await bench.advance(0.6)
    await http.settle()
    assert (short.result().json()["state"], waiting[0].done()) == ("ready", False)
    executor, (row,) = await leased(bench)
    await bench.exchange(executor, [as_json(row, 5)], want=0)
    await http.settle()
    assert {one.result().json()["result"] for one in waiting} == {5}
    assert bench.dispatcher.http_tasks.waiting == {}
    assert bench.dispatcher.http_tasks.owner.outbox == []


@on_bench()
async def test_a_client_that_leaves_leaves_nothing_behind(bench: Bench) -> None:
    """Its wait ends, also if the task never does."""
    http = HttpBench(bench)
    task_id = (await http.submit()).json()["id"]
    future = bench.dispatcher.http_tasks.find(task_key_of(task_id), 30.0)
    await http.settle()
    assert len(bench.dispatcher.http_tasks.waiting) == 1
    future.cancel()
    await http.settle()
    assert bench.dispatcher.http_tasks.waiting == {}
    assert bench.broker._with_deadline == {}


@on_bench()
async def test_a_dead_letter_shows_its_error_and_nothing_is_unpickled(bench: Bench) -> None:
    """The error names a class; the master reads the texts around it."""
    http = HttpBench(bench)
    task_id = (await http.submit({"retries": 0})).json()["id"]
    executor, (row,) = await leased(bench)
    error = pickle.dumps(("shop:Oops", "no stock", "Traceback ...", pickle.dumps(Trap())), TEXT_PROTOCOL)
    await bench.exchange(executor, [(row[0], row[1], 1, error, 0.1, "shop:Oops: no stock")], want=0)
    for master in (http, HttpBench(await restarted(bench))):
        task = await master.task(task_id)
        assert (task["state"], task["ended"], task["result_format"]) == ("dead", True, None)
        assert task["error"] == {"type": "shop:Oops", "text": "no stock", "traceback": "Traceback ..."}
        assert task["causes"] == ["shop:Oops: no stock"]


class Trap:
    """Fails the test when it is unpickled."""

    def __reduce__(self) -> Any:
        """Return a call that raises."""
        return (exec, ("raise SystemExit('unpickled')",))


@pytest.mark.parametrize(
    ("result", "form"),
    [
        (pickle.dumps([1]), "pickle"),
        (b'{"a": NaN}', "other"),
        (b"[1e999]", "other"),
        (b'{"a": 1, "a": 2}', "other"),
        (b"\xff", "other"),
        (b"[" * 5000 + b"]" * 5000, "other"),
        (b"[" + b"9" * 5000 + b"]", "other"),
        (b'"' + b"x" * (300 << 10) + b'"', "large"),
        (b'"\\ud800"', "json"),
    ],
)
def test_a_result_that_is_no_small_strict_json_is_named_and_can_be_fetched(result: bytes, form: str) -> None:
    """The answer about the task stays JSON, whatever a worker has stored."""

    @on_bench(defaults=DEFAULTS._replace(payload_bytes_max=1 << 20))
    async def named(bench: Bench) -> None:
        http = HttpBench(bench)
        task_id = (await http.submit()).json()["id"]
        executor, (row,) = await leased(bench)
        assert (await http.ask("GET", f"/api/v1/tasks/{task_id}/result")).json()["code"] == "NO_RESULT"
        await bench.exchange(executor, [(row[0], row[1], 0, result, 0.1, "")], want=0)
        task = await http.task(task_id)
        assert (task["result_format"], task["result_bytes"], task["result"] is None) == (
            form,
            len(result),
            form != "json",
        )
        alone = await http.ask("GET", f"/api/v1/tasks/{task_id}/result?wait=1s")
        kind = "application/octet-stream" if form == "pickle" else "application/json"
        assert (alone.status_code, alone.content, alone.headers["content-type"]) == (200, result, kind)
        assert alone.headers["content-length"] == str(len(result))

    named()


@on_bench()
async def test_a_task_is_cancelled_once(bench: Bench) -> None:
    """A task that runs is stopped only if the client says so; a second cancel changes nothing."""
    http = HttpBench(bench)
    waits, runs, ends = [(await http.submit()).json()["id"] for _ in range(3)]
    supervisor = bench.worker()
    cancelled = await http.ask("POST", f"/api/v1/tasks/{waits}/cancel")
    assert (cancelled.status_code, cancelled.json()["state"], cancelled.json()["ended"]) == (200, "cancelled", True)
    assert (await http.ask("POST", f"/api/v1/tasks/{waits}/cancel")).status_code == 200
    executor = bench.executor()
    rows = await bench.exchange(executor, want=2)
    await bench.exchange(executor, [as_json(rows[1], 1)], want=0)
    over = await http.ask("POST", f"/api/v1/tasks/{ends}/cancel?running=true")
    assert (over.status_code, over.json()["code"]) == (409, "CANNOT_CANCEL")
    kept = await http.ask("POST", f"/api/v1/tasks/{runs}/cancel")
    assert (kept.status_code, "running=true" in kept.json()["detail"]) == (409, True)
    stopped = await http.ask("POST", f"/api/v1/tasks/{runs}/cancel?running=true")
    assert stopped.json()["state"] == "cancelled"
    answer = await bench.ask(supervisor, "broker", "heartbeat", {}, 0.0)
    assert answer["abort"] == [(rows[0][0], rows[0][1])]
    assert (await http.ask("POST", f"/api/v1/tasks/{runs}/cancel?running=yes")).status_code == 400
    assert (await http.ask("POST", "/api/v1/tasks/1-fff/cancel")).status_code == 404


@on_bench()
async def test_a_master_that_ends_answers_the_requests_that_wait(bench: Bench) -> None:
    """The answers have the tasks as they are; later requests are refused with the advice to come again."""
    http = HttpBench(bench)
    task_id = (await http.submit()).json()["id"]
    waiting = http.start("GET", f"/api/v1/tasks/{task_id}?wait=30s")
    await http.settle()
    bench.dispatcher.http_tasks.end()
    await http.settle()
    assert waiting.result().json()["state"] == "ready"
    assert (await http.submit()).json()["code"] == "MASTER_ENDING"


@on_bench()
async def test_an_executor_sees_the_idempotency_key_among_the_headers(bench: Bench) -> None:
    """A task can pass it on; a request that sets the header itself is refused."""
    http = HttpBench(bench)
    await http.submit({"headers": {"tenant": "acme"}}, idempotency_key="k")
    bench.worker()
    reply = await bench.ask(bench.executor(), "broker", "exchange", [], 5, 0.0)
    (headers,) = reply[4].values()
    assert [name for name, _ in headers] == ["tenant", "distq-idempotency"]
    assert headers[1][1].endswith(" k")
    refused = await http.submit({"headers": {"distq-idempotency": "x k"}})
    assert (refused.status_code, "idempotency_key" in refused.json()["detail"]) == (422, True)


@on_bench()
async def test_a_retried_dead_letter_can_be_awaited_again(bench: Bench) -> None:
    """A task that is no dead letter any more has no end."""
    http = HttpBench(bench)
    task_id = (await http.submit({"retries": 0})).json()["id"]
    executor, (row,) = await leased(bench)
    await bench.exchange(executor, [failed(row)], want=0)
    assert (await http.task(task_id, "?wait=30s"))["state"] == "dead"
    await bench.admin("dead_retry", ids=[task_id])
    waiting = http.start("GET", f"/api/v1/tasks/{task_id}?wait=30s")
    await http.settle()
    assert not waiting.done()
    (row,) = await bench.exchange(executor, want=1)
    await bench.exchange(executor, [done(row, 1)], want=0)
    await http.settle()
    assert waiting.result().json()["result_format"] == "pickle"
