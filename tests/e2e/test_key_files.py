"""P8: keys in files are changed while masters, workers and clients run, by the steps of the documents.

Nothing is restarted, and nothing is refused.
"""

import asyncio
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.e2e.cluster import KEY, Cluster
from tests.e2e.sealed_tasks import double, nested
from tests.e2e.test_keys import NEWER, SHARED, TEAM, WEB, metric
from tests.waiting import SOON_S, eventually

import distq
from distq.settings import Role, load
from distq.settings.current_keys import CHECK_S

NEWER_TEAM = "newer-team-key-of-the-tests-0123456789"
ENOUGH = 20
"""Tasks that a program must have done between two steps."""


class Secret:
    """A folder with one file behind links, as Kubernetes mounts a Secret."""

    def __init__(self, folder: Path, text: str) -> None:
        folder.mkdir()
        self._folder = folder
        self._version = 0
        self.path = folder / "key"
        self.path.symlink_to("..data/key")
        self.write(text)

    def write(self, text: str) -> None:
        """Replace the file as the kubelet does: a new folder, and a link to it that is renamed."""
        self._version += 1
        (self._folder / f"..{self._version}").mkdir()
        (self._folder / f"..{self._version}" / "key").write_text(text)
        (self._folder / "..data_tmp").symlink_to(f"..{self._version}")
        (self._folder / "..data_tmp").rename(self._folder / "..data")


class Program:
    """A program that submits one task after another, with a client that it made at its start."""

    def __init__(self, submits: Any) -> None:
        self.done = 0
        self.errors: list[BaseException] = []
        self._submits = submits
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        try:
            for number, value in self._submits(self._ends):
                assert value == 2 * number
                self.done += 1
        except BaseException as error:  # noqa: BLE001 - the test raises it
            self.errors.append(error)

    def works_on(self) -> None:
        """Wait until more tasks are done that began after this call."""
        wanted = self.done + ENOUGH
        eventually(lambda: self.done >= wanted or bool(self.errors), "more tasks")
        assert not self.errors

    def end(self) -> None:
        """End it."""
        self._ends.set()
        self._thread.join(SOON_S)


def client_environ(grid: Cluster, **settings: str) -> dict[str, str]:
    """Return the settings of a client."""
    return {"DISTQ_ADDRESS": f"127.0.0.1:{grid.port}", "DISTQ_RECONNECT_MAX_S": "0.2", **settings}


@contextmanager
def programs(environ: dict[str, str]) -> Iterator[list[Program]]:
    """Run a program with a Client and one with an AsyncClient."""
    settings = load(environ, Role.CLIENT).settings

    def one_by_one(ends: threading.Event) -> Iterator[tuple[int, int]]:
        with distq.Client(settings=settings) as client:
            for number in range(1_000_000):
                if ends.is_set():
                    return
                yield number, client.submit(double, number).result(SOON_S)

    def in_a_loop(ends: threading.Event) -> Iterator[tuple[int, int]]:
        with asyncio.Runner() as runner:

            async def make() -> distq.AsyncClient:
                return distq.AsyncClient(settings=settings)

            async def ask(number: int) -> int:
                value: int = await (await client.submit(double, number))
                return value

            client = runner.run(make())
            for number in range(1_000_000):
                if ends.is_set():
                    break
                yield number, runner.run(ask(number))
            runner.run(client.shutdown())

    running = [Program(one_by_one), Program(in_a_loop)]
    try:
        yield running
    finally:
        for program in running:
            program.end()


def test_the_key_of_a_connection_is_changed_without_a_restart(grid: Cluster, tmp_path: Path) -> None:
    """The steps of keys.md: the master's line, the programs' files, the metric, and the end of the old line."""
    lines = Secret(tmp_path / "lines", f"web submit {WEB}\nteam work+submit {TEAM}\n")
    web, team = Secret(tmp_path / "web", WEB), Secret(tmp_path / "team", TEAM)
    master = grid.master(
        DISTQ_KEYS_PATH=str(lines.path),
        DISTQ_AUTHKEY=SHARED,
        DISTQ_HEARTBEAT_S="0.5",
        DISTQ_HTTP_ADDRESS=f"127.0.0.1:{grid.http_port}",
    )
    master.logs("http_listened")
    worker = grid.run(
        "worker",
        "tests.e2e.sealed_tasks",
        "--concurrency",
        "2",
        DISTQ_AUTHKEY="",
        DISTQ_AUTHKEY_FILE=str(team.path),
    )
    with programs(client_environ(grid, DISTQ_AUTHKEY_FILE=str(web.path))) as running:
        for program in running:
            program.works_on()
        lines.write(f"web submit {NEWER}\nweb submit {WEB}\nteam work+submit {NEWER_TEAM}\nteam work+submit {TEAM}\n")
        master.logs("keys_reloaded")
        for program in running:
            program.works_on()
        web.write(NEWER)
        team.write(f"{NEWER_TEAM}\r\n")
        for key in ("web", "team"):
            eventually(lambda key=key: metric(grid, "distq_key_connections", key=key, age="old") == 0)  # type: ignore[misc]
            eventually(lambda key=key: metric(grid, "distq_key_connections", key=key, age="current") > 0)  # type: ignore[misc]
        lines.write(f"web submit {NEWER}\nteam work+submit {NEWER_TEAM}\n")
        master.logs("keys_reloaded", times=2)
        for program in running:
            program.works_on()
        settings = load(client_environ(grid, DISTQ_AUTHKEY_FILE=str(web.path)), Role.CLIENT).settings
        with distq.Client(settings=settings) as client:
            assert client.submit(nested, 4).result(SOON_S) == 8  # a client in a task has the new key of the worker
    assert not worker.events("master_lost", reason="authkey")
    assert worker.popen.poll() is None


def test_master_and_programs_that_share_one_file_take_a_new_key_in_one_step(grid: Cluster, tmp_path: Path) -> None:
    """A program may read the file before the master does: it goes on with the old key, the second in the file."""
    shared, programs_own = Secret(tmp_path / "shared", WEB), Secret(tmp_path / "own", WEB)
    master = grid.master(DISTQ_AUTHKEY="", DISTQ_AUTHKEY_FILE=str(shared.path), DISTQ_HEARTBEAT_S="0.5")
    worker = grid.run("worker", "tests.e2e.sealed_tasks", DISTQ_AUTHKEY="", DISTQ_AUTHKEY_FILE=str(programs_own.path))
    with programs(client_environ(grid, DISTQ_AUTHKEY_FILE=str(programs_own.path))) as running:
        for program in running:
            program.works_on()
        programs_own.write(f"{NEWER}\n{WEB}\n")  # the programs' machine is the first that has the file
        worker.logs("keys_reloaded")
        for program in running:
            program.works_on()
        shared.write(f"{NEWER}\n{WEB}\n")
        master.logs("keys_reloaded")
        for program in running:
            program.works_on()
        shared.write(NEWER)
        master.logs("keys_reloaded", times=2)
        for program in running:
            program.works_on()
    assert worker.popen.poll() is None


@pytest.mark.parametrize("executor", ["process", "thread"])
@pytest.mark.parametrize("kind", ["SIGNING", "ENCRYPTION"])
def test_payload_keys_are_changed_without_a_restart(grid: Cluster, tmp_path: Path, kind: str, executor: str) -> None:
    """The steps of signed-payloads.md: in each of them one side has the file a second before the other."""
    old, new = "an older payload key of the tests", "a newer payload key of the tests"
    files = {side: Secret(tmp_path / side, old) for side in ("worker", "client")}
    setting = f"DISTQ_{kind}_KEY_FILE"
    grid.master()
    worker = grid.run(
        "worker",
        "tests.e2e.sealed_tasks",
        DISTQ_EXECUTOR=executor,
        **{setting: str(files["worker"].path)},
    )
    environ = client_environ(grid, DISTQ_AUTHKEY=KEY, **{setting: str(files["client"].path)})
    with programs(environ) as running:
        for text in (old, f"{old}\n{new}", f"{new}\n{old}", new):
            for side in ("worker", "client"):
                files[side].write(text)
                seen_at = (
                    time.perf_counter() + CHECK_S
                )  # from here on each process has looked at the file before it seals
                eventually(lambda seen_at=seen_at: time.perf_counter() > seen_at)  # type: ignore[misc]
                for program in running:
                    program.works_on()
        files["worker"].write("")  # a file with an error changes nothing
        worker.logs("executor_troubled")
        for program in running:
            program.works_on()
        settings = load(environ, Role.CLIENT).settings
        with distq.Client(settings=settings) as client:
            assert client.submit(double, 4).result(SOON_S) == 8
    assert not grid.json_of("dead", "list", "--json")["tasks"]
