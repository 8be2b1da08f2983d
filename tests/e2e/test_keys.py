"""Keys with names and roles, in real processes: refusals, rotation without downtime, and that no place shows a key."""

import urllib.error
import urllib.request
from pathlib import Path

import pytest
from tests.e2e import keys_seen
from tests.e2e.cluster import Cluster, Process, cluster
from tests.waiting import SOON_S, eventually
from tests.wire import programs

from distq import Client, DistqError
from distq.settings import Role, load

SHARED, WEB, NEWER, TEAM, READER = (
    f"{name}-key-of-the-tests-0123456789" for name in ("shared", "web", "newer", "team", "read")
)
SIGNING, ENCRYPTION, TOKEN, PASSWORD = (
    f"{name}-key-of-the-tests-0123456789" for name in ("signing", "encryption", "http-token", "database")
)
ALL = (SHARED, WEB, NEWER, TEAM, READER, SIGNING, ENCRYPTION, TOKEN, PASSWORD)
PAYLOAD_KEYS = {"DISTQ_SIGNING_KEY": SIGNING, "DISTQ_ENCRYPTION_KEY": ENCRYPTION}
LINES = f"web submit {WEB}\nteam work {TEAM}\nreader read {READER}\n"

CONNECTED = """
import sys
from multiprocessing.managers import BaseManager
class Manager(BaseManager): pass
Manager.register("get_work_queue")
Manager.register("get_result_queue")
manager = Manager(("127.0.0.1", int(sys.argv[1])), sys.argv[2].encode())
manager.connect()
work, result = manager.get_work_queue(), manager.get_result_queue()
"""
# Programs of the standard library, each with a key of one role.
PUTS = (
    CONNECTED
    + """
work.put(7)
print(result.get(timeout=30))
try:
    work.get_nowait()
except Exception as error:
    print(error)
"""
)
WORKS = (
    CONNECTED
    + """
item = work.get(timeout=30)
result.put(item * item)
try:
    work.put(1)
except Exception as error:
    print(error)
"""
)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """The master's file of keys."""
    path = tmp_path / "keys"
    path.write_text(LINES)
    return path


def master_of(grid: Cluster, file: Path, **settings: str) -> Process:
    """Start a master with the file of keys and the shared key."""
    return grid.master(DISTQ_KEYS_PATH=str(file), DISTQ_AUTHKEY=SHARED, **settings)


def client_of(grid: Cluster, key: str) -> Client:
    """Return a client with a key."""
    return Client(f"127.0.0.1:{grid.port}", key)


def test_a_worker_whose_key_lacks_the_role_ends_with_the_sentence(grid: Cluster, file: Path) -> None:
    """It does not try again, has no traceback, and exits with 3, as with a wrong key."""
    master_of(grid, file)
    for key, name, role in ((WEB, "web", "submit"), (READER, "reader", "read")):
        worker = grid.tasks(1, DISTQ_AUTHKEY=key)
        assert worker.ends() == 3
        assert (
            f"The key '{name}' has the role {role} and may not connect as a worker. That needs the role work"
            in worker.text
        )
        assert "Traceback" not in worker.text
        assert "speak one protocol" not in worker.text
        assert worker.text.count("may not connect") == 1


def test_a_client_whose_key_lacks_the_role_gets_the_sentence(grid: Cluster, file: Path) -> None:
    """Submits fail with the key's name, its role and what is needed; commands end with the sentence."""
    master_of(grid, file)
    with (
        client_of(grid, TEAM) as client,
        pytest.raises(DistqError, match="'team' has the role work and may not connect as a client"),
    ):
        client.submit_named("square", [3]).result(SOON_S)
    purge = grid.run("dead", "purge", "--queue", "default", "--yes", DISTQ_AUTHKEY=READER)
    assert purge.ends() != 0
    assert "The key 'reader' has the role read and may not ask for admin(dead_purge)" in purge.text
    assert "Traceback" not in purge.text
    status = grid.run("status", DISTQ_AUTHKEY=READER)
    assert status.ends() == 0, status.text


def test_a_cluster_runs_with_one_role_for_each_peer(grid: Cluster, file: Path) -> None:
    """A program with `submit` and a worker with `work` are all that tasks need."""
    master_of(grid, file)
    grid.tasks(1, DISTQ_AUTHKEY=TEAM)
    with client_of(grid, WEB) as client:
        assert client.submit_named("square", [3]).result(SOON_S) == 9


def test_unchanged_programs_connect_with_role_keys(grid: Cluster, file: Path, interpreter: str) -> None:
    """The standard library's handshake finds the key among several; a call without the role is its RemoteError."""
    master_of(grid, file)
    with (
        programs.start(interpreter, PUTS, str(grid.port), WEB) as puts,
        programs.start(interpreter, WORKS, str(grid.port), TEAM) as works,
    ):
        put, _ = puts.communicate(timeout=SOON_S)
        worked, _ = works.communicate(timeout=SOON_S)
    assert put.startswith("49\n")
    assert (
        "The key 'web' has the role submit and may not call get_nowait() of a work queue. That needs the role work"
        in put
    )
    assert (
        "The key 'team' has the role work and may not call put() of a work queue. That needs the role submit" in worked
    )


def metric(grid: Cluster, name: str, **labels: str) -> float:
    """Return a sample of the master's metrics."""
    text = urllib.request.urlopen(f"http://127.0.0.1:{grid.http_port}/metrics", timeout=SOON_S).read().decode()
    pairs = ",".join(f'{label}="{value}"' for label, value in labels.items())
    for line in text.splitlines():
        if line.startswith(f"{name}{{{pairs}}} "):
            return float(line.rpartition(" ")[2])
    raise AssertionError(f"no {name} with {pairs}\n{text}")


def test_a_key_is_changed_without_downtime(grid: Cluster, file: Path) -> None:
    """Old and new key work side by side; metrics and the log name the old one's users; its end loses no task."""
    master = master_of(grid, file, DISTQ_HTTP_ADDRESS=f"127.0.0.1:{grid.http_port}")
    master.logs("http_listened")
    grid.tasks(1, DISTQ_AUTHKEY=TEAM)
    with client_of(grid, WEB) as old:
        assert old.submit_named("square", [2]).result(SOON_S) == 4
        file.write_text(f"web submit {NEWER}\n{LINES}")
        master.logs("keys_reloaded", keys=5)
        assert old.submit_named("square", [3]).result(SOON_S) == 9  # connected again: its key is an old one now
        eventually(lambda: metric(grid, "distq_key_connections", key="web", age="old") > 0)
        assert master.logs("old_key_used", key="web")[0]["peer"].startswith("127.0.0.1:")
        with client_of(grid, NEWER) as new:
            assert new.submit_named("square", [4]).result(SOON_S) == 16
            file.write_text("web submit")
            assert "has 2 words" in master.logs("keys_not_reloaded")[0]["reason"]
            assert new.submit_named("square", [5]).result(SOON_S) == 25
            futures = [new.submit_named("square", [n]) for n in range(200)]
            file.write_text(LINES.replace(WEB, NEWER))
            master.logs("keys_reloaded", keys=4)
            assert [future.result(SOON_S) for future in futures] == [n * n for n in range(200)]
            eventually(lambda: metric(grid, "distq_key_connections", key="web", age="current") > 0)
    with client_of(grid, WEB) as gone, pytest.raises(DistqError, match="authkey"):
        gone.submit_named("square", [6]).result(SOON_S)


def test_no_place_shows_a_key(tmp_path: Path) -> None:
    """Logs, errors, `ps`, /proc of executors, HTTP pages, tracebacks with local variables, and commands."""
    with cluster(tmp_path) as grid:
        file = tmp_path / "keys"
        file.write_text(LINES)
        http = f"127.0.0.1:{grid.http_port}"
        master = master_of(grid, file, DISTQ_HTTP_ADDRESS=http, DISTQ_HTTP_TOKEN=TOKEN)
        master.logs("http_listened")
        worker = grid.run("worker", "tests.e2e.keys_seen", "--concurrency", "1", DISTQ_AUTHKEY=TEAM, **PAYLOAD_KEYS)
        (executor,) = worker.executors()
        shown: dict[str, str] = {}
        address = {"DISTQ_ADDRESS": f"127.0.0.1:{grid.port}", "DISTQ_AUTHKEY": WEB}
        with Client(settings=load({**address, **PAYLOAD_KEYS}, Role.CLIENT).settings) as client:
            for function in (keys_seen.environment, keys_seen.reachable_reprs, keys_seen.program):
                shown[function.__name__] = client.submit(function).result(SOON_S)
            error = client.submit(keys_seen.fails).exception(SOON_S)
            shown["traceback"] = keys_seen.written(error)
            running = client.submit(keys_seen.waits, str(tmp_path / "end"))
            eventually(running.running, "the task that waits")
            for arguments in (
                ["stack", str(running.task_id)],
                ["show", str(running.task_id)],
                ["why", str(running.task_id)],
            ):
                shown[" ".join(arguments)] = output(grid, *arguments)
            assert "keys_seen" in shown[f"stack {running.task_id}"]
            (tmp_path / "end").touch()
            running.result(SOON_S)
            shown["client"] = repr((client, vars(client), vars(client._session)))
            shown["settings of the client"] = repr((client._settings, client._settings.key_files))
        assert "GOES-THROUGH" in shown["environment"]
        assert "MasterAccess" in shown["reachable_reprs"]
        for pid in {executor, worker.popen.pid, master.popen.pid}:
            shown[f"cmdline of {pid}"] = Path(f"/proc/{pid}/cmdline").read_text()
        shown["environ of the executor"] = Path(f"/proc/{executor}/environ").read_text()
        for path in ("/metrics", "/readyz", "/api/v1/overview", "/api/v1/workers", "/api/v1/queues", "/api/v1/nothing"):
            shown[path] = page(grid, path)
        shown["wrong key"] = page(grid, "/api/v1/tasks/1-1", WEB[:-1])
        shown["right key"] = page(grid, "/api/v1/tasks/1-1", WEB)
        shown["right token"] = page(grid, "/api/v1/tasks", TOKEN)
        for arguments in (["settings"], ["status", "--json"], ["list"], ["show", "1-1"]):
            shown[" ".join(arguments)] = output(grid, *arguments, DISTQ_KEYS_PATH=str(file))
        stored = f"postgresql://user:{PASSWORD}@127.0.0.1:1/db?sslpassword={PASSWORD}"
        for command in ("settings", "master"):
            shown[f"{command} with a database"] = output(grid, command, DISTQ_STORE=stored, DISTQ_HTTP_TOKEN=TOKEN)
        shown["settings with keys"] = output(grid, "settings", "--role", "worker", **PAYLOAD_KEYS)
        for name in ("DISTQ_SIGNING_KEY", "DISTQ_ENCRYPTION_KEY"):
            shown[f"wrong {name}"] = output(grid, "worker", **{name: f'"{SIGNING}"'})
        wrong = tmp_path / "wrong"
        wrong.write_text(LINES + f"web again {NEWER}")
        shown["wrong file"] = output(grid, "master", DISTQ_KEYS_PATH=str(wrong))
        assert "a role that does not exist" in shown["wrong file"]
        for process in grid.processes:
            shown[f"log {process.log.name}"] = process.text
        found = [(place, key) for place, text in shown.items() for key in ALL if key in text]
        assert found == []


def page(grid: Cluster, path: str, key: str = "") -> str:
    """Return the text of an HTTP answer with its headers, of whatever status."""
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    request = urllib.request.Request(f"http://127.0.0.1:{grid.http_port}{path}", headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=SOON_S) as answer:
            return f"{answer.headers}{answer.read().decode()}"
    except urllib.error.HTTPError as error:
        return f"{error.headers}{error.read().decode()}"


def output(grid: Cluster, *arguments: str, **settings: str) -> str:
    """Return what a command prints, however it ends."""
    command = grid.run(*arguments, **{"DISTQ_AUTHKEY": SHARED, **settings})
    command.ends()
    return command.text
