"""The short commands: health, key, settings, status."""

import http.server
import json
import socket
import threading
from collections.abc import Iterator
from multiprocessing.connection import Listener
from pathlib import Path
from typing import Any

import pytest
from tests.metrics.fakes import FakeMaster, worker_row

from distq.cli.app import run
from distq.core.queue import Queue
from distq.core.states import READY
from distq.core.task import Task
from distq.settings import ROWS
from distq.web.api import STATS

KEY = "k" * 32


class Probe(http.server.BaseHTTPRequestHandler):
    """Answers /readyz with the server's `answer`."""

    def do_GET(self) -> None:
        """Answer one probe."""
        status, text = self.server.answer if self.path == "/readyz" else (404, "")  # type: ignore[attr-defined]
        self.send_response(status)
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *_args: object) -> None:
        """Print nothing."""


@pytest.fixture
def probed() -> Iterator[http.server.HTTPServer]:
    """Run an HTTP server whose `answer` a test can set."""
    with http.server.HTTPServer(("127.0.0.1", 0), Probe) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
def test_health_is_what_readyz_says(
    host: str,
    probed: http.server.HTTPServer,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Exit 0 if ready, else 1 with the reason; the probe of a listener on every interface uses loopback, and no key."""
    monkeypatch.setenv("DISTQ_HTTP_ADDRESS", f"{host}:{probed.server_address[1]}")
    monkeypatch.setenv("DISTQ_AUTHKEY_FILE", "/nowhere")
    probed.answer = (200, "ready\n")  # type: ignore[attr-defined]
    assert run(["health"]) == 0
    assert capsys.readouterr() == ("ready\n", "")
    probed.answer = (503, "The store is full.\n")  # type: ignore[attr-defined]
    assert run(["health"]) == 1
    assert capsys.readouterr() == ("", "not ready: The store is full.\n")


def test_health_without_a_master_exits_with_1_and_the_reason(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The process refuses the connection, does not speak HTTP, or has no HTTP address."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    monkeypatch.setenv("DISTQ_HTTP_ADDRESS", f"127.0.0.1:{port}")
    assert run(["health"]) == 1
    assert capsys.readouterr().err == f"127.0.0.1:{port} does not answer: Connection refused.\n"
    monkeypatch.setenv("DISTQ_HTTP_ADDRESS", "off")
    assert run(["health"]) == 1
    assert "no process can answer" in capsys.readouterr().err


def test_a_new_key_is_another_each_time(capsys: pytest.CaptureFixture[str]) -> None:
    """A key has 43 characters that need no quoting."""
    assert run(["key", "new"]) == run(["key", "new"]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first != second
    assert len(first) == len(second) == 43


def test_the_key_in_use_is_shown_from_environment_or_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each of several keys is on a line of its own."""
    (tmp_path / "key").write_text(f"{KEY}\nsecond\n")
    monkeypatch.setenv("DISTQ_AUTHKEY_FILE", str(tmp_path / "key"))
    assert run(["key", "show"]) == 0
    monkeypatch.setenv("DISTQ_AUTHKEY", "third")
    assert run(["key", "show"]) == 0
    assert capsys.readouterr().out == f"{KEY}\nsecond\nthird\n"


def test_settings_are_shown_with_their_source_and_without_secrets(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The command prints JSON for programs, and a table for people."""
    monkeypatch.setenv("DISTQ_AUTHKEY", KEY)
    monkeypatch.setenv("DISTQ_LEASE_S", "1m")
    monkeypatch.setenv("DISTQ_LEASES", "1m")
    assert run(["settings", "--json"]) == 0
    out, err = capsys.readouterr()
    found = {row["name"]: row for row in json.loads(out)}
    assert list(found) == [row.name for row in ROWS]
    assert (found["DISTQ_LEASE_S"]["value"], found["DISTQ_LEASE_S"]["source"]) == ("1m", "environment")
    assert (found["DISTQ_AUTHKEY"]["value"], found["DISTQ_POOL"]["source"]) == ("(secret)", "default")
    assert err == "distq: warning: DISTQ_LEASES is not a setting; did you mean DISTQ_LEASE_S?\n"
    assert run(["settings", "--for", "worker"]) == 0
    table = capsys.readouterr().out
    assert all(row.name in table for row in ROWS)
    assert KEY not in out + table


class FakeBroker:
    """A master of one connection, on the standard library's own wire: answers `hello` and `stats`."""

    def __init__(self, master: FakeMaster, key: bytes) -> None:
        self.listener = Listener(("127.0.0.1", 0), authkey=key)
        self.calls: list[tuple[Any, ...]] = []
        self.master = master
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        try:
            with self.listener.accept() as connection:
                while True:
                    call = connection.recv()
                    self.calls.append(call)
                    _, method, args, _ = call
                    answer = {"protocol": 1} if method == "hello" else STATS[args[0]](self.master)
                    connection.send(("#RETURN", answer))
        except (EOFError, OSError, Exception):  # noqa: BLE001 - the peer has left, or never had the key
            return

    def close(self) -> None:
        """End it, after its one connection has ended."""
        self._thread.join()
        self.listener.close()


@pytest.fixture
def broker(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeBroker]:
    """Run a master with one queue and two workers, one of which has a name that would control a terminal."""
    queue: Queue[Task] = Queue("work", 1000)
    queue.counts[READY] = 1234
    master = FakeMaster(all_queues=[queue], all_workers=[worker_row("w1"), worker_row("\x1b[2J[red]w2")])
    broker = FakeBroker(master, KEY.encode())
    monkeypatch.setenv("DISTQ_ADDRESS", f"127.0.0.1:{broker.listener.address[1]}")
    yield broker
    broker.close()


def test_status_shows_queues_workers_and_slots(
    broker: FakeBroker, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Tables are for people; names that peers choose are printed as plain text."""
    monkeypatch.setenv("DISTQ_AUTHKEY", KEY)
    assert run(["status"]) == 0
    out = capsys.readouterr().out
    assert "2 workers, 2 of 8 slots busy" in out
    assert "1,234" in out
    assert "64 MiB" in out
    assert "�[2J[red]w2" in out
    assert "\x1b" not in out
    _, method, (info,), _ = broker.calls[0]
    assert (method, info["role"], info["protocol"]) == ("hello", "cli", (1, 1))


def test_status_is_json_for_programs(
    broker: FakeBroker, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The output is one object with the three answers."""
    monkeypatch.setenv("DISTQ_AUTHKEY", KEY)
    assert run(["status", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert list(found) == ["overview", "queues", "workers"]
    assert found["queues"]["queues"][0]["ready"] == 1234
    assert found["workers"]["workers"][0]["name"] == "\x1b[2J[red]w2"


def test_status_says_when_no_worker_is_connected(
    broker: FakeBroker, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The command also prints what the operator can do."""
    broker.master.all_workers.clear()
    broker.master.reason = "The store is full."
    monkeypatch.setenv("DISTQ_AUTHKEY", KEY)
    assert run(["status"]) == 0
    out = capsys.readouterr().out
    assert "not ready: The store is full." in out
    assert "No worker is connected." in out


def test_status_with_a_wrong_key_exits_with_3(
    broker: FakeBroker, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The command prints a sentence."""
    monkeypatch.setenv("DISTQ_AUTHKEY", "w" * 32)
    assert run(["status"]) == 3
    assert capsys.readouterr().err.count("\n") == 1


def test_status_without_a_master_exits_with_3(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The sentence names the address and the setting."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    monkeypatch.setenv("DISTQ_ADDRESS", f"127.0.0.1:{port}")
    monkeypatch.setenv("DISTQ_AUTHKEY", KEY)
    assert run(["status", "--wait", "100ms"]) == 3
    err = capsys.readouterr().err
    assert f"127.0.0.1:{port}" in err
    assert "DISTQ_ADDRESS" in err
