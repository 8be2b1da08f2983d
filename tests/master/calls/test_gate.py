"""What each role may do: every cell of the table, at the real doors of a master, and the queues of a key."""

from typing import Any

import pytest
from tests.master.bench import Bench, FakeConnection, done, on_bench
from tests.web.http_bench import HttpBench

from distq.core.task_ids import id_text
from distq.net.keyring import KeyRing
from distq.protocol.authority import Authority
from distq.protocol.heartbeat import ExecutorEnd, WorkerReport, write_report
from distq.protocol.permissions import ANYONE, BROKER, HTTP, ROLES, SERVER, TABLE
from distq.settings.role_keys import NamedKey
from distq.web.openapi import PATH as OPENAPI
from distq.web.operations import OPERATIONS
from distq.wire.errors import RemoteRefusal

MATRIX = """
broker        admin                             submit work read
broker        before                            -      work -
broker        cancel                            submit -    -
broker        exchange                          -      work -
broker        goodbye                           submit -    -
broker        heartbeat                         -      work -
broker        hello                             submit work read
broker        results                           submit -    -
broker        running                           submit -    read
broker        stats                             submit work read
broker        stream                            submit -    read
broker        stuck                             submit -    read
broker        submit                            submit -    -
broker        watch                             submit -    -
hello         cli                               submit work read
hello         client                            submit -    -
hello         executor                          -      work -
hello         worker                            -      work -
admin_action  backup_begin                      -      -    -
admin_action  backup_read                       -      -    -
admin_action  cancel                            submit -    -
admin_action  dead_list                         -      -    read
admin_action  dead_purge                        -      -    -
admin_action  dead_retry                        -      -    -
admin_action  dead_show                         -      -    read
admin_action  list                              -      -    read
admin_action  live                              -      -    read
admin_action  pause                             -      -    -
admin_action  queue_reset                       -      -    -
admin_action  queue_set                         -      -    -
admin_action  related                           -      -    -
admin_action  resume                            -      -    -
admin_action  schedule_declare                  -      work -
admin_action  schedule_list                     -      -    read
admin_action  schedule_pause                    -      -    -
admin_action  schedule_put                      -      -    -
admin_action  schedule_remove                   -      -    -
admin_action  schedule_resume                   -      -    -
admin_action  schedule_run                      -      -    -
admin_action  security                          -      -    read
admin_action  show                              submit -    read
admin_action  stack                             -      -    read
admin_action  wait                              submit -    -
server        accept_connection                 submit work read
server        create                            submit work read
server        decref                            submit work read
server        dummy                             submit work read
server        get_methods                       submit work read
server        incref                            submit work read
server        number_of_objects                 submit work read
work          __repr__                          submit work read
work          __str__                           submit work read
work          empty                             submit work read
work          full                              submit work read
work          get                               -      work -
work          get_nowait                        -      work -
work          join                              submit work -
work          put                               submit -    -
work          put_nowait                        submit -    -
work          qsize                             submit work read
work          task_done                         -      work -
result        __repr__                          submit work read
result        __str__                           submit work read
result        empty                             submit work read
result        full                              submit work read
result        get                               submit -    -
result        get_nowait                        submit -    -
result        join                              submit work -
result        put                               -      work -
result        put_nowait                        -      work -
result        qsize                             submit work read
result        task_done                         submit -    -
http          GET_/api/v1/tasks/{id}            submit -    read
http          GET_/api/v1/tasks/{id}/result     submit -    read
http          POST_/api/v1/tasks                submit -    -
http          POST_/api/v1/tasks/{id}/cancel    submit -    -
"""
ROWS = [
    (row.split()[0].replace("_", " "), row.split()[1].replace("T_", "T "), frozenset(row.split()[2:]) - {"-"})
    for row in MATRIX.strip().splitlines()
]
OPEN = [call for call, roles in TABLE[HTTP].items() if ANYONE in roles]
"""HTTP requests that need no key."""
PROBES = ("/metrics", "/livez", "/readyz", OPENAPI)


def key(role: str, *queues: str) -> Authority:
    """The authority of a key with one role, or several joined by `+`."""
    return Authority(f"the-{role}", role.split("+"), queues)


def is_forbidden(answer: object) -> bool:
    """Whether an answer is the gate's refusal."""
    return isinstance(answer, RemoteRefusal) and str(answer).startswith("The key 'the-")


async def tried(bench: Bench, role: str, door: str, call: str) -> object:
    """The answer to a call, with arguments that the master may refuse for another reason."""
    connection = bench.connection(authority=key(role))
    match door:
        case "broker" if call in ("hello", "admin"):
            return await bench.ask(connection, "broker", call)
        case "broker":
            return await bench.ask(connection, "broker", call, [1])
        case "hello":
            return bench.hello(connection, call, "s")
        case "admin action":
            return await bench.ask(connection, "broker", "admin", call, {"id": "1-1"})
        case "server":
            return await bench.ask(connection, None, call, "get_work_queue")
        case _:
            return await bench.ask(connection, door, call)


@pytest.mark.parametrize(("door", "call", "roles"), ROWS, ids=[f"{door}-{call}" for door, call, _ in ROWS])
@pytest.mark.parametrize("role", ROLES)
def test_each_role_may_do_what_its_cell_says(role: str, door: str, call: str, roles: frozenset[str]) -> None:
    """A call is refused exactly where the matrix has no entry for the role; the role admin has every entry."""
    allowed = role == "admin" or role in roles

    @on_bench()
    async def over_the_wire(bench: Bench) -> None:
        answer = await tried(bench, role, door, call)
        assert is_forbidden(answer) is not allowed, answer
        if not allowed:
            assert f"has the role {role} " in str(answer)
            assert "needs the role" in str(answer)
            assert bench.dispatcher.gate.refused_count == {f"the-{role}": 1}

    @on_bench()
    async def over_http(bench: Bench) -> None:
        ring = KeyRing([NamedKey(b"a key of the tests that is long enough", key(role))])
        method, path = call.split()
        answer = await HttpBench(bench, ring=ring).ask(method, path.replace("{id}", "1-1"), json={"name": "f"})
        assert (answer.status_code == 403) is not allowed, answer.text
        if not allowed:
            assert answer.json()["code"] == "FORBIDDEN"
            assert f"has the role {role} " in answer.json()["detail"]

    (over_http if door == "http" else over_the_wire)()


def test_every_call_that_the_master_answers_has_a_row() -> None:
    """A new method, action, queue call or HTTP request without a row fails here, and so does a row for none."""

    @on_bench()
    async def compare(bench: Bench) -> None:
        dispatcher = bench.dispatcher
        assert set(TABLE[BROKER]) == set(dispatcher._broker_calls)
        assert set(TABLE[SERVER]) == set(dispatcher._server_calls)
        assert set(TABLE["work"]) == set(TABLE["result"]) == set(dispatcher._plain._answers)
        assert set(TABLE["admin action"]) == set(dispatcher.admin.actions)
        known = {f"{one.method} {one.path}" for one in OPERATIONS} | {f"GET {path}" for path in PROBES}
        assert set(TABLE[HTTP]) == known
        keyless = {f"{one.method} {one.path}" for one in OPERATIONS if not one.needs_key}
        assert set(OPEN) == keyless | {f"GET {path}" for path in PROBES}

    compare()
    tested = {(door, call) for door, call, _ in ROWS}
    assert tested == {(door, call) for door, rows in TABLE.items() for call in rows} - {(HTTP, call) for call in OPEN}


def test_a_call_without_a_row_is_for_admin_alone() -> None:
    """The gate refuses what the table does not know, unless the key may do everything."""
    for role in ("submit", "work", "read"):
        assert not key(role).allows(BROKER, "a_new_call")
    assert key("admin").allows(BROKER, "a_new_call")


@on_bench()
async def test_a_key_may_have_several_roles(bench: Bench) -> None:
    """A key with two roles may do what either of them may."""
    connection = bench.connection(authority=key("submit+work"))
    assert not isinstance(bench.hello(connection, "client", "s"), Exception)
    assert await bench.submit(connection, 1, [b"x"]) == (True, 1 << 40 | 1)
    assert not isinstance(bench.hello(bench.connection(authority=key("work+submit")), "worker", "w"), Exception)
    assert is_forbidden(await bench.ask(connection, "broker", "admin", "list", {}))


# -- queues --------------------------------------------------------------------------------------


def limited(bench: Bench, role: str, *queues: str) -> FakeConnection:
    """The connection of a key for some queues."""
    return bench.connection(authority=key(role, *queues))


def of_queue(answer: object, queue: str) -> bool:
    """Whether an answer refuses the queue."""
    return is_forbidden(answer) and f"may not use the queue {queue!r}" in str(answer)


@on_bench()
async def test_a_key_submits_only_to_its_queues(bench: Bench) -> None:
    """The refusal names the key, the queue and the patterns; the master takes no task of such a submit."""
    client = limited(bench, "submit", "mail.*", "reports")
    bench.hello(client, "client", "s")
    assert (await bench.submit(client, 1, [b"x"], queue="mail.eu"))[0]
    assert (await bench.submit(client, 2, [b"x"], queue="reports"))[0]
    answer = await bench.submit(client, 3, [b"x"], queue="mails")
    assert of_queue(answer, "mails")
    assert "mail.*, reports" in str(answer)
    both = [("reports", "f"), ("other", "f")]
    answer = await bench.ask(client, "broker", "submit", 4, both, [(0, 1), (1, 1)], [b"a", b"b"], 0.0)
    assert of_queue(answer, "other")
    assert bench.counts("reports") == {"ready": 1}
    assert bench.counts("mail.eu") == {"ready": 1}
    assert (await bench.submit(client, 3, [b"x"], queue="reports"))[0]


@on_bench()
async def test_a_key_reaches_no_task_of_another_queue_by_its_id(bench: Bench) -> None:
    """Results, streams, cancels and details of a task need a key for its queue."""
    _, first = await bench.submit(bench.client(), 1, [b"x"], queue="secret")
    client = limited(bench, "submit+read+admin", "mine")
    bench.hello(client, "client", "s")
    for method, args in (
        ("watch", ([first],)),
        ("running", ([first],)),
        ("stuck", ([first],)),
        ("cancel", ([first], False)),
        ("stream", (first, 0, 0.0)),
    ):
        assert of_queue(await bench.ask(client, "broker", method, *args), "secret"), method
    for action, asked in (
        ("show", {"id": id_text(first)}),
        ("stack", {"id": id_text(first)}),
        ("dead_show", {"id": id_text(first)}),
        ("cancel", {"ids": [id_text(first)]}),
        ("dead_retry", {"ids": [id_text(first)]}),
        ("wait", {"task": id_text(first), "other": id_text(first)}),
        ("list", {"queue": "secret"}),
        ("show", {"queue": "secret", "unique_key": "u"}),
        ("pause", {"queue": "secret"}),
        ("queue_set", {"queue": "secret", "capacity": 1}),
    ):
        assert of_queue(await bench.ask(client, "broker", "admin", action, asked), "secret"), action
    assert bench.counts("secret") == {"ready": 1}


@pytest.mark.parametrize(
    ("action", "asked"),
    [
        ("backup_begin", {}),
        ("cancel", {"name": "f"}),
        ("dead_list", {}),
        ("dead_purge", {}),
        ("dead_retry", {"name": "f"}),
        ("list", {}),
        ("live", {}),
        ("pause", {"name": "f"}),
        ("related", {"id": "1-1"}),
        ("schedule_list", {}),
        ("schedule_remove", {"name": "s"}),
    ],
)
def test_a_request_about_all_queues_needs_a_key_for_all_queues(action: str, asked: dict[str, Any]) -> None:
    """Even the role admin is refused then; the same request for one of the key's queues is not."""

    @on_bench()
    async def test(bench: Bench) -> None:
        operator = limited(bench, "admin", "mine")
        bench.hello(operator, "cli", "")
        answer = await bench.ask(operator, "broker", "admin", action, asked)
        assert is_forbidden(answer)
        assert "may not use all queues" in str(answer)
        if action in ("list", "dead_list", "cancel"):
            answer = await bench.ask(operator, "broker", "admin", action, {**asked, "queue": "mine"})
            assert not is_forbidden(answer)

    test()


@on_bench()
async def test_a_worker_serves_only_queues_of_its_key(bench: Bench) -> None:
    """A worker without named queues would serve all; one with a foreign queue is refused, and leases nothing."""
    await bench.submit(bench.client(), 1, [b"x"], queue="secret")
    for session, queues in (("a", None), ("b", []), ("c", ["mine", "secret"])):
        answer = bench.hello(limited(bench, "work", "mine"), "worker", session, queues=queues, tasks=True)
        assert is_forbidden(answer), queues
    assert "DISTQ_QUEUES" in str(bench.hello(limited(bench, "work", "mine"), "worker", "d"))
    assert not bench.workers.sessions
    answer = bench.hello(limited(bench, "work", "mine"), "worker", "e", queues=["mine"], tasks=True)
    assert not is_forbidden(answer)
    executor = limited(bench, "work", "mine")
    assert not is_forbidden(bench.hello(executor, "executor", "e", index=1))
    assert await bench.ask(executor, "broker", "exchange", [], 1, 0.0) == ([], [])
    bench.worker("all")
    assert is_forbidden(await bench.ask(executor, "broker", "exchange", [(1 << 40 | 1, 1, 0, None, 0.1)], 0, 0.0))


@on_bench()
async def test_an_executor_cannot_join_a_worker_with_other_queues(bench: Bench) -> None:
    """The session of a worker is no way around the queues of the key."""
    bench.worker("w", queues=["secret"])
    assert of_queue(bench.hello(limited(bench, "work", "mine"), "executor", "w", index=1), "secret")


@on_bench()
async def test_a_worker_settles_no_task_of_another_queue(bench: Bench) -> None:
    """An executor whose key is for other queues cannot make up the result of a task."""
    await bench.submit(bench.client(), 1, [b"x"], queue="secret")
    bench.worker("all")
    holder = bench.executor(1, "all")
    (row,) = await bench.exchange(holder)
    bench.hello(limited(bench, "work", "mine"), "worker", "e", queues=["mine"], tasks=True)
    thief = limited(bench, "work", "mine")
    bench.hello(thief, "executor", "e", index=1)
    assert of_queue(await bench.ask(thief, "broker", "exchange", [list(done(row, "forged"))], 0, 0.0), "secret")
    assert bench.counts("secret") == {"leased": 1}


@on_bench()
async def test_a_worker_takes_no_lease_of_another_queue(bench: Bench) -> None:
    """Whether it says hello as one that holds it, or reports that it was lost or handed back: the lease stays."""
    await bench.submit(bench.client(), 1, [b"x"], queue="secret")
    bench.worker("all")
    ((task_key, delivery, *_),) = await bench.exchange(bench.executor(1, "all"))
    fields: dict[str, Any] = {"queues": ["mine"], "tasks": True}
    claims = bench.hello(limited(bench, "work", "mine"), "worker", "t", holds=[(1, task_key, delivery)], **fields)
    assert of_queue(claims, "secret")
    worker = limited(bench, "work", "mine")
    assert not isinstance(bench.hello(worker, "worker", "t", **fields), Exception)
    claims = bench.hello(limited(bench, "work", "mine"), "executor", "t", index=1, holds=[(task_key, delivery)])
    assert of_queue(claims, "secret")
    thief = limited(bench, "work", "mine")
    assert not isinstance(bench.hello(thief, "executor", "t", index=1), Exception)
    assert of_queue(await bench.ask(thief, "broker", "before", task_key, delivery, 0), "secret")
    end = ExecutorEnd(1, "forged", "signal", (task_key, delivery))
    report = WorkerReport(0, 1, None, None, draining=False)
    for forged in (
        report._replace(released=[(task_key, delivery)]),
        report._replace(exited=[end]),
        report._replace(exited=[end._replace(running=None, begun=[(task_key, delivery)])]),
        report._replace(stacks=[(task_key, delivery, "a stack")]),
    ):
        assert of_queue(await bench.ask(worker, "broker", "heartbeat", write_report(forged), 0.0), "secret")
    assert not isinstance(await bench.ask(worker, "broker", "heartbeat", write_report(report), 0.0), Exception)
    assert bench.counts("secret") == {"leased": 1}
    holder = bench.ledger.state.tasks[task_key].holder
    assert holder is not None
    assert holder.label == "all/1"


@on_bench()
async def test_arguments_of_unusual_types_are_no_way_around_the_queues(bench: Bench) -> None:
    """What the gate cannot read as lists is refused, before the reader of the call could take it for lists."""
    await bench.submit(bench.client(), 1, [b"x"], queue="s")
    client = limited(bench, "submit+work", "mine")
    bench.hello(client, "client", "c")
    for envelopes in ("sf", ["sf"], {("s", "f"): 0}, [{"s": 0, "f": 1}]):
        answer = await bench.ask(client, "broker", "submit", 1, envelopes, [(0, 1)], [b"x"], 0.0)
        assert isinstance(answer, RemoteRefusal), envelopes
    for keys in ({1 << 40 | 1: 0}, "x", None, [float(1 << 40 | 1)]):
        assert isinstance(await bench.ask(client, "broker", "cancel", keys, False), RemoteRefusal), keys
    assert bench.counts("s") == {"ready": 1}


@on_bench()
async def test_a_worker_declares_schedules_only_for_its_queues(bench: Bench) -> None:
    """It also cannot replace a schedule of another queue, or remove schedules."""
    row = {"name": "n", "body": b"x", "envelope": ("secret", "f"), "every": 60.0}
    operator = bench.connection()
    bench.hello(operator, "cli", "")
    assert not isinstance(await bench.ask(operator, "broker", "admin", "schedule_put", row), Exception)
    worker = limited(bench, "work", "mine")
    asked = {"schedules": [row], "modules": ["m"], "age_s": 0.0, "remove": False}
    assert of_queue(await bench.ask(worker, "broker", "admin", "schedule_declare", asked), "secret")
    asked["schedules"] = [{**row, "envelope": ("mine", "f")}]
    assert of_queue(await bench.ask(worker, "broker", "admin", "schedule_declare", asked), "secret")
    asked["schedules"] = [{**row, "name": "other", "envelope": ("mine", "f")}]
    answer = await bench.ask(worker, "broker", "admin", "schedule_declare", asked)
    assert answer["declared"] == {"other": ""}
    answer = await bench.ask(worker, "broker", "admin", "schedule_declare", {**asked, "remove": True})
    assert is_forbidden(answer)
    assert "DISTQ_SCHEDULES=remove" in str(answer)


@on_bench()
async def test_plain_queues_have_patterns_too(bench: Bench) -> None:
    """A standard-library program with a key for other queues puts nothing."""
    assert of_queue(await bench.ask(limited(bench, "submit", "mine"), "work", "put", 1), "work")
    assert await bench.ask(limited(bench, "submit", "wor?"), "work", "put", 1) is None


@on_bench()
async def test_http_requests_have_patterns_too(bench: Bench) -> None:
    """A bearer key submits to its queues alone, and reads and cancels no task of another one."""
    _, first = await bench.submit(bench.client(), 1, [b"x"], queue="secret")
    ring = KeyRing([NamedKey(b"a key of the tests that is long enough", key("submit", "q", "mine.*"))])
    http = HttpBench(bench, ring=ring)
    assert (await http.submit()).status_code == 201
    for answer in (
        await http.submit({"queue": "secret"}),
        await http.ask("GET", f"/api/v1/tasks/{id_text(first)}"),
        await http.ask("GET", f"/api/v1/tasks/{id_text(first)}/result"),
        await http.ask("POST", f"/api/v1/tasks/{id_text(first)}/cancel"),
    ):
        assert (answer.status_code, answer.json()["code"]) == (403, "FORBIDDEN")
        assert "may not use the queue 'secret'" in answer.json()["detail"]
    assert bench.counts("secret") == {"ready": 1}
