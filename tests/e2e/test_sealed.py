"""P8: a cluster whose clients sign, or encrypt, and what its workers and clients refuse of any other."""

import json
import pickle
import signal
import sqlite3
import threading
import urllib.request
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from tests.e2e.cluster import KEY, Cluster
from tests.e2e.sealed_tasks import (
    Trap,
    add_all,
    count,
    discards,
    double,
    fail,
    nested,
    reports,
    reports_and_fails,
    reports_and_streams,
    resume,
    seen,
    tenant,
    touch,
)
from tests.net.fake_master import ReceivedCall, fake_master
from tests.waiting import SOON_S, eventually

import distq
from distq import Client
from distq.net.dial import Connection, dial
from distq.settings import Role, load
from distq.tasks.codec import PROTOCOL
from distq.tasks.failure import ResultRefused, TaskFailed
from distq.tasks.sealed import SealRefused

SIGNING, OLD_SIGNING = "a signing key of the tests", "an older signing key of the tests"
ENCRYPTION, OLD_ENCRYPTION = "an encryption key of the tests", "an older encryption key of the tests"
SIGNED = {"DISTQ_SIGNING_KEY": SIGNING}
ENCRYPTED = {"DISTQ_ENCRYPTION_KEY": ENCRYPTION}


def client_of(grid: Cluster, **settings: str) -> Client:
    """Return a client with these settings."""
    environ = {"DISTQ_ADDRESS": f"127.0.0.1:{grid.port}", "DISTQ_AUTHKEY": KEY, **settings}
    return Client(settings=load(environ, Role.CLIENT).settings)


def worker_of(grid: Cluster, **settings: str) -> Any:
    """Start a worker of the tasks of these tests."""
    return grid.run("worker", "tests.e2e.sealed_tasks", "--concurrency", "2", **settings)


def dead_letters(grid: Cluster) -> list[dict[str, Any]]:
    """Return the dead letters, as `distq dead list` shows them."""
    rows: list[dict[str, Any]] = grid.json_of("dead", "list", "--json")["tasks"]
    return rows


@pytest.mark.parametrize("executor", ["process", "thread"])
@pytest.mark.parametrize("keys", [SIGNED, ENCRYPTED, SIGNED | ENCRYPTED], ids=["signed", "encrypted", "both"])
def test_every_form_of_a_task_runs_with_keys(grid: Cluster, keys: dict[str, str], executor: str) -> None:
    """Calls, chunks, names, chains, groups, streams, checkpoints, headers, errors, tasks of tasks, by their futures."""
    grid.master(DISTQ_RETRY_BASE_S="0.01")
    worker_of(grid, DISTQ_EXECUTOR=executor, **keys)
    with client_of(grid, **keys) as client:
        assert client.submit(double, 21).result(SOON_S) == 42
        assert list(client.map(double, range(500))) == list(range(0, 1000, 2))
        assert list(client.map(double, range(50), chunksize=10)) == list(range(0, 100, 2))
        assert client.submit_named("double", [4]).result(SOON_S) == 8
        assert client.submit(bytes, 1 << 20).result(SOON_S) == bytes(1 << 20)
        group = [distq.call(double, number) for number in range(5)]
        assert client.chain(group, distq.call(add_all, more=1)).result(SOON_S) == 21
        assert client.chain(group).result(SOON_S) == [0, 2, 4, 6, 8]
        assert list(client.submit(count, 5).stream(SOON_S)) == [0, 1, 2, 3, 4]
        assert client.submit(resume).result(SOON_S) == [1, 2, 3]
        assert client.submit(nested, 3).result(SOON_S) == 6
        assert client.options(headers={"tenant": "acme"}).submit(tenant).result(SOON_S) == "acme"
        with pytest.raises(LookupError, match="no such thing"):
            client.submit(fail, "no such thing").result(SOON_S)
        assert client.submit(reports, "told").result(SOON_S) == "TOLD"
        assert list(client.submit(reports_and_streams, "told").stream(SOON_S)) == ["TOLD"] * 3
        assert client.chain(distq.call(reports, "told"), distq.call(reports)).result(SOON_S) == "TOLD"
        with pytest.raises(LookupError, match="told and failed"):
            client.submit(reports_and_fails, "told and failed").result(SOON_S)
        assert client.submit(discards, "a reason").exception(SOON_S) is not None
        after = client.chain(distq.call(fail, "lost"), distq.call(seen, "came").options(on_failure="run"))
        assert after.result(SOON_S) == "came: LookupError lost"
        first = client.submit(double, 1)
        assert first.result(SOON_S) == 2
        again = client.future(str(first.task_id))
        assert again.result(SOON_S) == 2


def test_a_schedule_is_signed_and_the_same_schedule_changes_nothing(grid: Cluster, tmp_path: Path) -> None:
    """The master submits the signed payload at every run; the client's second definition is the same one."""
    grid.master()
    worker_of(grid, **SIGNED, **ENCRYPTED)
    target = tmp_path / "scheduled"
    with client_of(grid, **SIGNED, **ENCRYPTED) as client:
        every = client.options(every=0.5)
        first = every.schedule("touching", touch, str(target))
        eventually(target.exists, "the scheduled run")
        target.unlink()
        eventually(target.exists, "the next scheduled run")
        again = every.schedule("touching", touch, str(target))
    assert first.name == again.name
    assert not dead_letters(grid)


# -- what a worker refuses ---------------------------------------------------------------------------


def test_an_unsigned_task_becomes_a_dead_letter_with_the_reason(grid: Cluster, tmp_path: Path) -> None:
    """A client without the key, one with another key, and the HTTP API: the worker runs nothing."""
    grid.master(DISTQ_HTTP_ADDRESS=f"127.0.0.1:{grid.http_port}")
    worker_of(grid, **SIGNED)
    targets = [tmp_path / name for name in ("unsigned", "other", "http")]
    with client_of(grid) as client, pytest.raises(SealRefused, match="not signed; the HTTP API and"):
        client.submit(touch, str(targets[0])).result(SOON_S)
    with (
        client_of(grid, DISTQ_SIGNING_KEY=OLD_SIGNING, DISTQ_UNSIGNED="accept") as client,
        pytest.raises(SealRefused, match=r"is signed with the key [0-9a-f]{16}, which DISTQ_SIGNING_KEY does not"),
    ):
        client.submit(touch, str(targets[1])).result(SOON_S)
    task = {"name": "tests.e2e.sealed_tasks:touch", "args": [str(targets[2])]}
    request = urllib.request.Request(
        f"http://127.0.0.1:{grid.http_port}/api/v1/tasks",
        json.dumps(task).encode(),
        {"Content-Type": "application/json", "Authorization": f"Bearer {KEY}"},
    )
    with urllib.request.urlopen(request, timeout=SOON_S) as answer:
        assert answer.status == 201
    eventually(lambda: len(dead_letters(grid)) == 3, "three dead letters")
    for row in dead_letters(grid):
        assert "The worker has not run the task: its payload" in str(row)
    assert not any(target.exists() for target in targets)


def test_a_standard_library_program_cannot_have_a_plain_handler_run(grid: Cluster, tmp_path: Path) -> None:
    """An item of a plain queue is not unpickled by a worker that demands signatures."""
    grid.master()
    worker = grid.worker("echo", 1, **SIGNED)
    grid.manager().get_work_queue().put(Trap(str(tmp_path / "trap")))
    eventually(lambda: len(dead_letters(grid)) == 1, "the dead letter", lambda: worker.text)
    assert "standard-library program" in str(dead_letters(grid))
    assert not (tmp_path / "trap").exists()


def edited(path: Path, edit: Callable[[sqlite3.Connection], object]) -> None:
    """Edit the file of a store, as an attacker who has its disk."""
    connection = sqlite3.connect(path)
    with connection:
        edit(connection)
    connection.close()


def test_an_edited_queue_file_makes_a_worker_run_nothing(grid: Cluster, tmp_path: Path) -> None:
    """A replaced body, swapped bodies, another name, and a copy under another id: each is refused, with its reason."""
    store = tmp_path / "queue.db"
    settings = {"DISTQ_STORE": f"sqlite:///{store}"}
    master = grid.master(**settings)
    targets = [str(tmp_path / f"target{number}") for number in range(6)]
    with client_of(grid, **SIGNED) as client:
        futures: list[distq.TaskFuture[Any]] = [client.submit(touch, target) for target in targets[:2]]
        futures += [client.submit(double, 2)]
        futures += [client.submit(touch, targets[3]), client.submit(touch, targets[4])]
        assert client.flush(SOON_S)
        keys = [future.task_key or 0 for future in futures]
        master.signal(signal.SIGTERM)
        assert master.ends() == 0
        evil = pickle.dumps(((Trap(targets[5]),), {}), PROTOCOL)

        def edit(file: sqlite3.Connection) -> None:
            bodies = dict(file.execute("SELECT key, body FROM bodies"))
            heads = dict(file.execute("SELECT key, head FROM heads"))
            file.execute("UPDATE bodies SET body = ? WHERE key = ?", (evil, keys[0]))
            file.execute("UPDATE bodies SET body = ? WHERE key = ?", (bodies[keys[2]], keys[1]))  # swapped
            file.execute("UPDATE bodies SET body = ? WHERE key = ?", (bodies[keys[1]], keys[2]))
            renamed = heads[keys[3]].replace(
                b"sealed_tasks:touch", b"sealed_tasks:Trap!"[:18].replace(b"Trap!", b"count")
            )
            file.execute("UPDATE heads SET head = ? WHERE key = ?", (renamed, keys[3]))
            copy = keys[4] + 1000
            file.execute("INSERT INTO heads VALUES (?, ?)", (copy, heads[keys[4]]))
            file.execute("INSERT INTO bodies VALUES (?, ?)", (copy, bodies[keys[4]]))

        edited(store, edit)
        grid.master(**settings)
        worker_of(grid, **SIGNED)
        eventually(lambda: len(dead_letters(grid)) == 5, "five dead letters", lambda: str(dead_letters(grid)))
        reasons = str(dead_letters(grid))
        assert reasons.count("it was changed, or belongs to another task") >= 3
        assert "is not signed" in reasons
        assert "is a copy of the payload of task" in reasons
        assert futures[4].result(SOON_S) == targets[4]
        with pytest.raises(TaskFailed, match="has not run the task"):
            futures[0].result(SOON_S)
    assert [Path(target).exists() for target in targets] == [False, False, False, False, True, False]


class Between:
    """A master of an attacker: it passes each call to the real one, and changes the answers as the test says."""

    def __init__(self, grid: Cluster, change: Callable[[str, Any], Any]) -> None:
        self._address = ("127.0.0.1", grid.port)
        self._change = change
        self._own = threading.local()
        self._connections: list[Connection] = []

    def close(self) -> None:
        """Close the connections to the real master."""
        for connection in self._connections:
            connection.close()

    def answer(self, call: ReceivedCall) -> Any:
        """The real master's answer, changed."""
        ident, method, args = call
        connection: Connection | None = getattr(self._own, "connection", None)
        if connection is None:
            connection = self._own.connection = dial([self._address], KEY.encode(), timeout_s=SOON_S)
            self._connections.append(connection)
        return self._change(method, connection.call(ident, method, args, timeout_s=SOON_S))


@pytest.mark.parametrize("executor", ["process", "thread"])
def test_a_hostile_master_makes_a_worker_run_nothing(grid: Cluster, tmp_path: Path, executor: str) -> None:
    """It answers with pickles of its own, with other names, and with an object in the answer itself."""
    grid.master()
    evil = pickle.dumps(((Trap(str(tmp_path / "body")),), {}), PROTOCOL)
    attacks: list[Callable[[Any], Any]] = [
        lambda reply: (reply[0], [(*row[:4], evil) for row in reply[1]], *reply[2:]),
        lambda reply: ([("default", "posix:system", "task", None)], *reply[1:]),
        lambda reply: (reply[0], [Trap(str(tmp_path / "answer"))], *reply[2:]),
    ]

    def change(method: str, reply: Any) -> Any:
        if method == "exchange" and reply[1] and attacks:
            return attacks.pop(0)(reply)
        return reply

    between = Between(grid, change)
    with (
        closing(between),
        fake_master(between.answer, [KEY.encode()]) as hostile,
        client_of(grid, **SIGNED) as client,
    ):
        worker = worker_of(grid, DISTQ_ADDRESS=f"127.0.0.1:{hostile.address[1]}", DISTQ_EXECUTOR=executor, **SIGNED)
        for why in ("is not signed", "it was changed, or belongs to another task"):
            with pytest.raises(TaskFailed, match=why):
                client.submit(double, 1).result(SOON_S)
        future = client.submit(double, 2)  # its first lease goes with the answer that the executor refuses
        assert future.result(SOON_S) == 4, worker.text
        worker.destroy()
    assert not attacks
    assert not (tmp_path / "body").exists()
    assert not (tmp_path / "answer").exists()


# -- what a client refuses ---------------------------------------------------------------------------


def test_a_client_refuses_a_forged_result_before_it_unpickles_it(grid: Cluster, tmp_path: Path) -> None:
    """A pickle of the master's own, the result of another task, and an error with an object in it."""
    grid.master()
    worker_of(grid, **SIGNED)
    trap = pickle.dumps(Trap(str(tmp_path / "result")), PROTOCOL)
    kept: list[bytes] = []

    def change(method: str, reply: Any) -> Any:
        if method != "results" or not reply[1]:
            return reply
        (task_key, state, body, causes), *more = reply[1]
        kept.append(body)
        if len(kept) == 1:
            changed = (task_key, state, trap, causes)
        elif len(kept) == 2:
            changed = (task_key, state, kept[0], causes)
        else:
            failure = pickle.dumps(("x:Y", "text", "lines", trap), PROTOCOL)
            changed = (task_key, 4 if state == 3 else state, failure, causes)
        return (reply[0], [changed, *more])

    between = Between(grid, change)
    with (
        closing(between),
        fake_master(between.answer, [KEY.encode()]) as hostile,
        client_of(grid, DISTQ_ADDRESS=f"127.0.0.1:{hostile.address[1]}", **SIGNED) as client,
    ):
        for why in ("is not signed", "is the signed outcome of another task"):
            with pytest.raises(ResultRefused, match=why):
                client.submit(double, 1).result(SOON_S)
        with pytest.raises(TaskFailed, match="because it is not signed"):
            client.submit(fail, "x").result(SOON_S)
    assert not (tmp_path / "result").exists()


# -- keys --------------------------------------------------------------------------------------------


def test_keys_are_rotated_without_a_refused_task(grid: Cluster) -> None:
    """A worker with both keys runs what is sealed with either, and each client reads what the worker seals."""
    grid.master()
    both = {
        "DISTQ_SIGNING_KEY": f"{SIGNING},{OLD_SIGNING}",
        "DISTQ_ENCRYPTION_KEY": f"{ENCRYPTION},{OLD_ENCRYPTION}",
    }
    worker_of(grid, **both)
    old = {
        "DISTQ_SIGNING_KEY": f"{OLD_SIGNING},{SIGNING}",
        "DISTQ_ENCRYPTION_KEY": f"{OLD_ENCRYPTION},{ENCRYPTION}",
    }
    for keys in (old, SIGNED | ENCRYPTED):
        with client_of(grid, **keys) as client:
            assert client.submit(double, 4).result(SOON_S) == 8


def test_signatures_are_introduced_without_a_refused_task(grid: Cluster) -> None:
    """While both sides accept what is unsigned, a client or a worker that has no key yet still works."""
    grid.master()
    accepting = {**SIGNED, "DISTQ_UNSIGNED": "accept"}
    first = worker_of(grid)
    with client_of(grid, **accepting) as client:
        assert client.submit(double, 1).result(SOON_S) == 2
        group = [distq.call(double, number) for number in range(3)]
        assert client.chain(group, distq.call(add_all)).result(SOON_S) == 6
        first.destroy()
        worker_of(grid, **accepting)
        assert client.submit(double, 2).result(SOON_S) == 4
    with client_of(grid) as client:
        assert client.submit(double, 3).result(SOON_S) == 6


def test_nothing_of_an_encrypted_task_is_in_the_store_or_the_logs(grid: Cluster, tmp_path: Path) -> None:
    """Arguments, results, parts, texts of errors, tracebacks: no file of master or worker has a plaintext of them."""
    store = tmp_path / "queue.db"
    master = grid.master(DISTQ_STORE=f"sqlite:///{store}")
    worker = worker_of(grid, **ENCRYPTED)
    with client_of(grid, **ENCRYPTED) as client:
        assert client.submit(str.upper, "a secret argument").result(SOON_S) == "A SECRET ARGUMENT"
        future = client.submit(fail, "a secret error")
        with pytest.raises(LookupError, match="a secret error"):
            future.result(SOON_S)
        dead = grid.run("dead", "show", str(future.task_id))
        assert dead.ends() == 0, dead.text
        assert "encrypted" in dead.text
        assert client.submit(reports, "a secret after progress").result(SOON_S) == "A SECRET AFTER PROGRESS"
        assert len(list(client.submit(reports_and_streams, "a secret part").stream(SOON_S))) == 3
        with pytest.raises(LookupError, match="a secret error after progress"):
            client.submit(reports_and_fails, "a secret error after progress").result(SOON_S)
        discarded = client.submit(discards, "a secret reason")
        assert discarded.exception(SOON_S) is not None
        for command in ("show", "why"):
            shown = grid.run(command, str(discarded.task_id))
            assert shown.ends() == 0, shown.text
            assert "its text is encrypted" in shown.text
            assert "secret" not in shown.text
        waiting = client.options(delay="1h").submit(str.upper, "a secret argument that waits")
        assert client.flush(SOON_S)
        assert waiting.task_id is not None
        plain = [b"secret", b"SECRET"]
        files = [path for path in tmp_path.iterdir() if path.is_file() and path.suffix != ".log"]
        assert store in files
        worker.logs("task_failed", times=2)
        for path in (*files, master.log, worker.log):
            assert not any(text in path.read_bytes() for text in plain), path
        assert waiting.cancel()
    with client_of(grid) as client, pytest.raises(ResultRefused, match="encrypted"):
        client.future(str(future.task_id)).result(SOON_S)


def test_a_worker_without_the_encryption_key_refuses_in_words(grid: Cluster) -> None:
    """The task is a dead letter that names the key by its id."""
    grid.master()
    worker_of(grid)
    with (
        client_of(grid, **ENCRYPTED) as client,
        pytest.raises(
            SealRefused,
            match=r"its payload is encrypted with the key [0-9a-f]{16}, which DISTQ_ENC",
        ),
    ):
        client.submit(double, 2).result(SOON_S)


# -- JSON --------------------------------------------------------------------------------------------

JSON_ONLY = {"DISTQ_ACCEPT": "json"}


def test_a_client_and_a_worker_in_json_mode_unpickle_nothing(grid: Cluster, tmp_path: Path) -> None:
    """Calls go as JSON, results come as JSON, errors as text; a pickled result of another worker is refused."""
    grid.master()
    first = worker_of(grid, **JSON_ONLY)
    with client_of(grid, **JSON_ONLY) as client:
        assert client.submit(double, 4).result(SOON_S) == 8
        assert list(client.map(double, range(20))) == list(range(0, 40, 2))
        assert client.chain([distq.call(double, 1), distq.call(double, 2)]).result(SOON_S) == [2, 4]
        with pytest.raises(TaskFailed, match="because this client accepts only JSON"):
            client.submit(fail, "x").result(SOON_S)
        with pytest.raises(TypeError, match="sends only JSON"):
            client.map(double, range(4), chunksize=2)
        first.destroy()
        worker_of(grid)
        with client_of(grid) as other:
            pickled = other.submit(Trap, str(tmp_path / "trap"))
            pickled.wait_for_end(SOON_S)
        with pytest.raises(ResultRefused, match="is pickled, and this client accepts only JSON"):
            client.future(str(pickled.task_id)).result(SOON_S)
    assert not (tmp_path / "trap").exists()


def test_declared_schedules_are_signed_by_their_worker(grid: Cluster) -> None:
    """A worker with a key runs the scheduled tasks that its own code declares."""
    grid.master()
    worker = grid.run("worker", "tests.e2e.sealed_schedules", "--concurrency", "1", **SIGNED)
    worker.logs("task_succeeded", times=2)
    assert not dead_letters(grid)
