"""Tests of undelivered results in the master, for a client that sleeps, has ended or was killed."""

import os
import re
import signal
import subprocess
import sys
import textwrap
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest
from tests.e2e.cluster import KEY, Cluster
from tests.e2e.holding import go
from tests.tidy.tree import ROOT
from tests.waiting import eventually

from distq.master.sessions.result_backlog import BODIES_BYTES_MAX

RESULTS: Final = 72
"""Results of one mebibyte: more than the master keeps in memory for all clients."""
PROGRAM_S: Final = 60.0

BEGINS: Final = """
import os, signal, sys, time, distq
from tests.e2e.tasks import blob

def wait():
    print("waits", flush=True)
    sys.stdin.readline()

def whole(results):
    for n, result in enumerate(results): assert result == b"%d " % n + bytes(1 << 20), n
    print("whole", flush=True)

client = distq.Client()
"""
FORGETS: Final = """
client = distq.Client(wait_at_exit=False)
for n in range(72): client.submit(blob, n)
"""
IS_KILLED: Final = """
futures = [client.submit(blob, n) for n in range(72)]
assert client.flush(20)
os.kill(os.getpid(), signal.SIGKILL)
"""
SLEEPS: Final = """
futures = [client.submit(blob, n) for n in range(72)]
assert client.flush(20)
wait()
whole(future.result(20) for future in futures)
"""
KEEPS: Final = """
futures = [client.submit(blob, n) for n in range(72)]
results = [future.result(20) for future in futures]
wait()
whole(results)
"""
MAPS: Final = """
results = client.map(blob, range(72))
first = next(results)
wait()
whole([first, *results])
"""
FORKS: Final = """
import warnings
warnings.simplefilter("ignore")
children = []
for child in range(4):
    if not (pid := os.fork()):
        for n in range(18): client.submit(blob, n)
        if child < 2:
            client.flush(20)
            os._exit(0)
        sys.exit()
    children.append(pid)
assert not any(os.waitpid(pid, 0)[1] for pid in children)
assert client.submit(blob, 0).result(20)
wait()
"""

AWAITS: Final = """
from tests.e2e.submitting import holds
future = client.submit(holds, FOLDER)
assert client.flush(20)
wait()
assert future.result(20) is None
print("whole", flush=True)
"""
IMPATIENT: Final = """
import sys
from distq.cli import main
from distq.master.calls import dispatch
from distq.master.sessions import clients
clients.IDLE_S, dispatch.WAIT_MAX_S = 1.0, 0.5
sys.exit(main())
"""
"""A master that ends idle sessions after a second, where the real one waits for an hour."""


class Figures:
    """The metrics of a master."""

    def __init__(self, port: int) -> None:
        self._page = f"http://127.0.0.1:{port}/metrics"

    def read(self) -> dict[str, float]:
        """Return each numeric series, and fail if undelivered results exceed their limit."""
        with urllib.request.urlopen(self._page, timeout=20) as answer:
            lines = answer.read().decode().splitlines()
        values = {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines if line[:1] != "#"}
        assert values["distq_undelivered_results_bytes"] <= BODIES_BYTES_MAX
        return values

    def have(self, **expected: float) -> None:
        """Wait until the metrics have the expected values."""
        seen: dict[str, float] = {}

        def as_expected() -> bool:
            values = self.read()
            seen.update((name, values[f"distq_{name}"]) for name in expected)
            return seen == expected

        eventually(as_expected, f"{expected}", lambda: f"{seen}")

    def all_done(self, count: int) -> None:
        """Wait until `count` tasks have succeeded."""
        succeeded = re.compile(r'distq_tasks_completed_total\{.*blob.*outcome="success"\}')
        eventually(
            lambda: sum(value for name, value in self.read().items() if succeeded.match(name)) == count,
            f"{count} results",
        )


@pytest.fixture
def figures(grid: Cluster, tmp_path: Path) -> Figures:
    """Start a master with a store on disk and a worker, and return the master's metrics."""
    http = f"127.0.0.1:{grid.http_port}"
    grid.master(DISTQ_HTTP_ADDRESS=http, DISTQ_STORE=f"sqlite:///{tmp_path / 'queue.db'}").logs("http_listened")
    grid.tasks(2)
    return Figures(grid.http_port)


@contextmanager
def program(grid: Cluster, text: str) -> Iterator["subprocess.Popen[str]"]:
    """Start a user's program, and kill it at the end if it still runs."""
    env = {
        **os.environ,
        "DISTQ_ADDRESS": f"127.0.0.1:{grid.port}",
        "DISTQ_AUTHKEY": KEY,
        "PYTHONPATH": str(ROOT),
    }
    pipe = subprocess.PIPE
    command = [sys.executable, "-c", BEGINS + textwrap.dedent(text)]
    with subprocess.Popen(command, env=env, stdin=pipe, stdout=pipe, text=True) as running:
        try:
            yield running
        finally:
            running.kill()


def wait_for_line(running: "subprocess.Popen[str]", line: str) -> None:
    """Wait for this line of the program's output."""
    assert running.stdout is not None
    assert running.stdout.readline().strip() == line


def resume(running: "subprocess.Popen[str]") -> str:
    """Let the program continue, and return the rest of its output."""
    out, _ = running.communicate("\n", timeout=PROGRAM_S)
    assert running.returncode == 0
    return out.strip()


def test_a_program_that_ended_leaves_nothing(grid: Cluster, figures: Figures) -> None:
    """The client closes its session, and its tasks run nevertheless."""
    with program(grid, FORGETS) as running:
        assert running.wait(PROGRAM_S) == 0
    figures.all_done(RESULTS)
    figures.have(undelivered_results_bytes=0, client_sessions=0)


def test_a_program_that_was_killed_leaves_its_session_and_bounded_results(grid: Cluster, figures: Figures) -> None:
    """The client may reconnect within an hour, because the master cannot know that it was killed."""
    with program(grid, IS_KILLED) as running:
        assert running.wait(PROGRAM_S) == -signal.SIGKILL
    figures.all_done(RESULTS)
    figures.have(client_sessions=1)


@pytest.mark.parametrize("text", [SLEEPS, KEEPS, MAPS], ids=["sleeps", "keeps the results", "maps and looks at one"])
def test_a_busy_program_finds_all_results(grid: Cluster, figures: Figures, text: str) -> None:
    """The client gets all results, however many the master has moved to the store."""
    with program(grid, text) as running:
        wait_for_line(running, "waits")
        figures.all_done(RESULTS)
        assert figures.read()["distq_client_sessions"] == 1
        if text is KEEPS:
            figures.have(undelivered_results_bytes=0)
        assert resume(running) == "whole"
    figures.have(undelivered_results_bytes=0, client_sessions=0)


def test_a_stopped_program_finds_all_results(grid: Cluster, figures: Figures) -> None:
    """The test sends SIGSTOP, as if the machine slept or a debugger had stopped the program."""
    with program(grid, SLEEPS) as running:
        wait_for_line(running, "waits")
        running.send_signal(signal.SIGSTOP)
        try:
            figures.all_done(RESULTS)
        finally:
            running.send_signal(signal.SIGCONT)
        assert resume(running) == "whole"
    figures.have(undelivered_results_bytes=0, client_sessions=0)


def test_forked_children_leave_no_more_than_their_sessions(grid: Cluster, figures: Figures) -> None:
    """A child that ends as a program does leaves nothing.

    The master cannot see the end of a child that calls `_exit`.
    """
    with program(grid, FORKS) as running:
        wait_for_line(running, "waits")
        figures.all_done(RESULTS + 1)
        figures.have(client_sessions=3)
        assert resume(running) == ""
    figures.have(client_sessions=2)


@pytest.mark.parametrize("store", ["memory:", "sqlite"])
def test_a_program_that_sleeps_longer_than_its_session_lives_finds_its_results(
    grid: Cluster, tmp_path: Path, held: Path, store: str
) -> None:
    """A laptop that is closed over night wakes with an ended session; its task has ended meanwhile."""
    place = store if store == "memory:" else f"sqlite:///{tmp_path / 'queue.db'}"
    http = f"127.0.0.1:{grid.http_port}"
    grid.run("master", launcher=("-c", IMPATIENT), DISTQ_HTTP_ADDRESS=http, DISTQ_STORE=place).logs("http_listened")
    worker = grid.run("worker", "tests.e2e.submitting")
    figures = Figures(grid.http_port)
    with program(grid, AWAITS.replace("FOLDER", repr(str(held)))) as running:
        wait_for_line(running, "waits")
        running.send_signal(signal.SIGSTOP)
        try:
            figures.have(client_sessions=0)
            go(held)
            worker.logs("task_succeeded")
        finally:
            running.send_signal(signal.SIGCONT)
        assert resume(running) == "whole"


FEW_ENDS: Final = """
import sys
from distq.master.sessions import result_backlog
result_backlog.ROWS_KEPT_MAX = 25
from distq.cli import main
sys.exit(main())
"""
SUBMITS_AND_IS_KILLED: Final = """
import os, signal, distq
from tests.e2e.tasks import square
client = distq.Client()
futures = [client.submit(square, n) for n in range(60)]
assert client.flush(20)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_dropped_ends_of_tasks_are_logged(grid: Cluster) -> None:
    """The client was killed, and the results of its tasks are more than the master keeps for one client."""
    master = grid.run("master", launcher=["-c", FEW_ENDS])
    master.logs("master_listened")
    assert grid.run("program", launcher=["-c", SUBMITS_AND_IS_KILLED]).ends() == -signal.SIGKILL
    grid.tasks()
    event, *_ = master.logs("undelivered_ends_dropped")
    assert event["level"] == "warning"
    assert event["most"] == 25
    eventually(lambda: sum(event["count"] for event in master.events("undelivered_ends_dropped")) >= 60 - 25)
