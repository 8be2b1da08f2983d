"""Every example of a command's `--help` runs, and succeeds, against a real master and a worker."""

import io
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from tests.e2e.cluster import KEY, Cluster, cluster
from tests.net.certificates import Authority
from tests.ports import free_port
from tests.waiting import SOON_S, eventually

import distq
from distq.cli.app import run
from distq.cli.examples import EXAMPLES
from distq.cli.json_fields import FIELDS
from distq.net.stop_signals import STOP_SIGNALS

SHOP = """
import time
import distq

@distq.task
def add(first, second):
    return first + second

@distq.task
def send(to):
    return to

@distq.task
def report():
    return "done"

@distq.task
def ping():
    return None

@distq.task(retries=0)
def fails():
    raise ConnectionError("no route")

@distq.task(retries=0)
def holds():
    while True:
        time.sleep(0.05)  # a cancellation interrupts the task between two of these calls
"""
DATABASE = "postgresql://distq@db.example.com/distq"
"""The database in the examples, which tests replace by one of their own."""
SERVICES = {
    "master": "master_listened",
    "worker": "master_connected",
    "up": "master_connected",
    "tunnel": "the tunnel leads to",
}
"""The commands that run until SIGTERM, and the log event or output after which an example has shown that it works."""


class Shop:
    """A folder with tasks and settings, and a master and a worker that use it."""

    def __init__(self, folder: Path, grid: Cluster) -> None:
        self.folder = folder
        self.grid = grid
        self._running: list[str] = []
        self.database = ""
        """URL of a database of this test, for the examples that name one."""
        self.schemas = 0
        (folder / "shop").mkdir()
        (folder / "shop" / "__init__.py").touch()
        (folder / "shop" / "tasks.py").write_text(SHOP)
        settings = (
            f"DISTQ_ADDRESS=127.0.0.1:{grid.port}\nDISTQ_AUTHKEY='{KEY}'\nDISTQ_STORE=sqlite:///distq.db\n"
            f"DISTQ_HTTP_ADDRESS=127.0.0.1:{grid.http_port}\nDISTQ_RECONNECT_MAX_S=0.2\n"
        )
        for name in (".env", "prod.env"):
            (folder / name).write_text(settings)
            (folder / name).chmod(0o600)  # `distq doctor` has a problem with a key that others can read
        for name in ("old", "new"):
            (folder / name).mkdir()

    def start(self) -> None:
        """Start the master and the worker, and copy the store to the files that the examples name."""
        http = {"DISTQ_HTTP_ADDRESS": f"127.0.0.1:{self.grid.http_port}"}
        master = self.grid.master(DISTQ_STORE=f"sqlite:///{self.folder}/live.db", **http)
        master.logs("http_listened")
        path = os.pathsep.join(filter(None, (str(self.folder), os.environ.get("PYTHONPATH"))))
        worker = self.grid.run("worker", "shop.tasks", "--concurrency", "2", PYTHONPATH=path)
        worker.logs("master_connected")
        copied = self.grid.run("store", "backup", str(self.folder / "distq.db"))
        assert copied.ends() == 0, copied.text
        (self.folder / "old" / "distq.db").write_bytes((self.folder / "distq.db").read_bytes())

    def prepared(self, line: str) -> str:
        """Make what an example names: a queue, a schedule, a file less, or the tasks of its ids, which are replaced."""
        words = shlex.split(line.removeprefix("--env-file prod.env "))
        if words[0] == "tls":
            shutil.rmtree(self.folder / "tls", ignore_errors=True)
            shutil.rmtree(self.folder / "certificates", ignore_errors=True)
            if "--renew" in words:
                assert self.grid.run("tls", "init", str(self.folder / "tls")).ends() == 0
        shutil.rmtree(self.folder / "jobs", ignore_errors=True)
        for name in ("copy.db", "mended.db", "new/distq.db", "moved.db"):
            (self.folder / name).unlink(missing_ok=True)
        if DATABASE in line:
            self.schemas += 1
            url = f"{self.database}&schema=shop_{self.schemas}"
            if words[2].startswith(DATABASE):
                filled = self.grid.run("store", "copy", f"sqlite:///{self.folder / 'distq.db'}", url)
                assert filled.ends() == 0, filled.text
            line = line.replace(DATABASE, f"'{url}'")
        with self.grid.client() as client:
            mail = client.options(queue="mail", delay=3600)
            waiting = [mail.submit_named("shop.tasks:send", ["joe"]) for _ in "ab"]
            client.options(queue="mail").submit_named("shop.tasks:send", ["joe"])  # it gives the queue the name
            client.flush()
            if words[0] == "schedule" and words[1] != "add":
                client.options(every=3600).schedule_named("nightly", "shop.tasks:report")
            ids = (
                self._tasks(client, words[0], [future.task_id or "" for future in waiting])
                if "1-2a" in line
                else ["", ""]
            )
            client.abandon()  # the tasks in an hour need no client
        return line.replace("1-2a", ids[0]).replace("1-2b", ids[1])

    def _tasks(self, client: distq.Client, word: str, waiting: list[str]) -> Sequence[str]:
        if word == "dead":
            future = client.submit_named("shop.tasks:fails", [])
            assert future.exception(SOON_S) is not None
        elif word == "stack":
            if not self._running:  # one for all examples: the worker has two slots
                future = client.submit_named("shop.tasks:holds", [])
                client.flush()
                eventually(future.running, "the start of the task")
                self._running = [future.task_id or "", ""]
            return self._running
        elif word == "result":
            future = client.submit_named("shop.tasks:add", [1, 2])
            assert future.result(SOON_S) == 3
        else:
            return waiting
        return [future.task_id or "", ""]


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """Yield a folder, a master and a worker, which all examples share."""
    folder = tmp_path_factory.mktemp("shop")
    with cluster(tmp_path_factory.mktemp("logs")) as grid:
        made = Shop(folder, grid)
        made.start()
        yield made


def test_every_command_has_two_examples() -> None:
    """Every example is run by a test below."""
    assert {words: len(lines) for words, lines in EXAMPLES.items() if len(lines) < 2} == {}


LINES = [line for lines in EXAMPLES.values() for line in lines]
ELSEWHERE = ("mcp", "top")
"""The commands whose examples other tests run, with a client of the protocol and in a terminal."""


def command_of(line: str) -> str:
    """Return the command of an example."""
    return line.removeprefix("--env-file prod.env ").split()[0]


@pytest.fixture
def signals_restored() -> Iterator[None]:
    """Restore the handlers of the stop signals after a command that runs in this process: `distq demo` ignores them."""
    handlers = {number: signal.getsignal(number) for number in STOP_SIGNALS}
    yield
    for number, handler in handlers.items():
        signal.signal(number, handler)


@pytest.mark.xdist_group("examples")
@pytest.mark.usefixtures("signals_restored")
@pytest.mark.parametrize(
    "line",
    [
        pytest.param(one, marks=[pytest.mark.postgresql] if DATABASE in one else [])
        for one in sorted({one for one in LINES if command_of(one) not in (*SERVICES, *ELSEWHERE)})
    ],
)
def test_an_example_succeeds(
    shop: Shop,
    line: str,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """It exits with 0, prints something, and its output can be written to a file."""
    monkeypatch.chdir(shop.folder)
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n"))
    if DATABASE in line:
        shop.database = request.getfixturevalue("database")
    command, _, file = shop.prepared(line).partition(" > ")
    if "--watch" in command:
        monkeypatch.setattr(time, "sleep", ends_the_watch)
    capfd.readouterr()
    assert run(shlex.split(command)) == (130 if "--watch" in command else 0), capfd.readouterr().err
    printed = capfd.readouterr()
    assert printed.out or file == "copy.db", printed.err


OPTIONAL = {"state", "result", "error", "error_text", "traceback"}
"""Fields of an outcome: the output has those of a success or of a failure, or only the id."""


def paths(value: Any, documented: Collection[str], at: str = "") -> Iterator[str]:
    """Yield the paths of the fields in a value; a documented field is not searched for further ones."""
    if at.lstrip(".") in documented:
        yield at.lstrip(".")
    elif isinstance(value, dict):
        for word, inner in value.items():
            yield from paths(inner, documented, f"{at}.{word}")
    elif isinstance(value, list):
        for inner in value:
            yield from paths(inner, documented, f"{at}[]")
    else:
        yield at.lstrip(".")


@pytest.mark.xdist_group("examples")
@pytest.mark.parametrize(
    "words",
    [
        pytest.param(one, marks=[pytest.mark.postgresql] if DATABASE in EXAMPLES[one][0] else [])
        for one in sorted(FIELDS)
    ],
)
def test_the_fields_of_json_are_those_of_the_reference(
    shop: Shop,
    words: str,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """Each field that the reference names is printed, and no other."""
    monkeypatch.chdir(shop.folder)
    with shop.grid.client() as client:
        assert client.submit_named("shop.tasks:fails", []).exception(SOON_S) is not None
    line = next(line for line in EXAMPLES[words] if command_of(line) == words.split(maxsplit=1)[0])
    if DATABASE in line:
        shop.database = request.getfixturevalue("database")
    args = shlex.split(shop.prepared(line))
    capfd.readouterr()
    assert run([*args, *([] if "--json" in args else ["--json"])]) == 0
    printed = set(paths(json.loads(capfd.readouterr().out), FIELDS[words]))
    assert printed <= FIELDS[words].keys()
    assert FIELDS[words].keys() - printed <= (OPTIONAL if words in ("submit", "result") else set())


def ends_the_watch(_seconds: float) -> None:
    """Stand for Ctrl-C between two lists."""
    raise KeyboardInterrupt


@pytest.mark.xdist_group("examples")
@pytest.mark.parametrize("line", sorted({one for one in LINES if command_of(one) in SERVICES}))
def test_an_example_of_a_service_runs_until_sigterm(shop: Shop, line: str, tmp_path: Path) -> None:
    """The service logs that it works, and SIGTERM ends it with 0."""
    environ = {**os.environ, "DISTQ_LOG_FORMAT": "json", "DISTQ_HTTP_ADDRESS": "off"}
    if command_of(line) != "worker":
        environ |= {"DISTQ_ADDRESS": f"127.0.0.1:{free_port()}", "DISTQ_STORE": "memory:"}
    options = []
    if command_of(line) == "tunnel":
        environ["DISTQ_TLS_CA"] = Authority(tmp_path).cert
        options = ["--listen", "127.0.0.1:0"]  # the ports of the examples may be in use
    log = tmp_path / "log"
    with log.open("wb") as out:
        command = [sys.executable, "-m", "distq", *shlex.split(line), *options]
        process = subprocess.Popen(
            command, cwd=shop.folder, env=environ, stdin=subprocess.DEVNULL, stdout=out, stderr=out
        )
    try:
        event = SERVICES[command_of(line)]
        eventually(lambda: event in log.read_text(), event, log.read_text)
        process.send_signal(signal.SIGTERM)
        assert process.wait(SOON_S) == 0, log.read_text()
    finally:
        process.kill()
        process.wait()
