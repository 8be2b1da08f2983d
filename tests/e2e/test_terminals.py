"""Tests of services that a user starts in a terminal and whose terminal closes."""

import fcntl
import os
import pty
import signal
import subprocess
import sys
import termios
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.e2e.cluster import KEY, Cluster, Process
from tests.e2e.holding import go, running
from tests.tidy.tree import ROOT
from tests.waiting import SOON_S, eventually

NOHUP = (
    "import os, signal, sys; signal.signal(signal.SIGHUP, signal.SIG_IGN);"
    "os.execv(sys.executable, [sys.executable, *sys.argv[1:]])"
)


class Terminal:
    """A terminal that runs one command."""

    def __init__(self, grid: Cluster, *arguments: str, **settings: str) -> None:
        self._fd, inside = pty.openpty()
        environ = {name: text for name, text in os.environ.items() if not name.startswith("DISTQ_")}
        environ |= {"DISTQ_ADDRESS": f"127.0.0.1:{grid.port}", "DISTQ_AUTHKEY": KEY, "DISTQ_HTTP_ADDRESS": "off"}
        self.popen = subprocess.Popen(
            [sys.executable, "-m", "distq", *arguments],
            env={**environ, "DISTQ_STORE": "memory:", **settings},
            cwd=ROOT,
            stdin=inside,
            stdout=inside,
            stderr=inside,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # noqa: PLW1509 - it takes no lock
        )
        os.close(inside)

    def shows(self, text: str) -> None:
        """Wait until the command has printed a text."""
        seen = b""
        while text.encode() not in seen:
            part = os.read(self._fd, 65_536)
            assert part, seen
            seen += part

    def close(self) -> None:
        """Close the terminal: the kernel sends SIGHUP, and further writes fail."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)


@contextmanager
def terminal(grid: Cluster, *arguments: str, **settings: str) -> Iterator[Terminal]:
    """Yield a terminal, and end its command and close it afterwards."""
    made = Terminal(grid, *arguments, **settings)
    try:
        yield made
    finally:
        made.close()
        with suppress(ProcessLookupError):
            made.popen.kill()
        made.popen.wait()


def test_a_worker_whose_terminal_closes_finishes_its_task(grid: Cluster, held: Path) -> None:
    """The worker exits with 0, and the task has run once."""
    master = grid.master()
    with grid.client() as client, terminal(grid, "worker", "tests.e2e.tasks", "--concurrency", "1") as window:
        future = client.submit_named("tests.e2e.tasks:hold", [str(held), "done"])
        running(held)
        window.close()
        eventually(lambda: is_draining(grid), "the beginning of the drain")
        go(held)
        assert window.popen.wait(SOON_S) == 0
        assert future.result(SOON_S) == "done"
    assert master.events("task_lost") == []


def is_draining(grid: Cluster) -> bool:
    """Return whether the one worker reports that it drains."""
    (worker,) = grid.json_of("status", "--json")["workers"]["workers"]
    return bool(worker["draining"])


def test_a_cluster_whose_terminal_closes_ends_in_order(grid: Cluster) -> None:
    """`distq up` ends its master and worker first, and then exits with 0."""
    with terminal(grid, "up", "tests.e2e.tasks", "--workers", "1") as window:
        window.shows("master_connected")
        window.close()
        assert window.popen.wait(SOON_S) == 0


def test_a_master_ends_in_order_after_sighup(grid: Cluster) -> None:
    """SIGHUP has the same effect as SIGTERM."""
    master = grid.master()
    master.signal(signal.SIGHUP)
    assert master.ends() == 0
    assert master.events("signal_received", signal="SIGHUP")


def test_services_started_by_nohup_ignore_sighup(grid: Cluster) -> None:
    """Only SIGTERM ends the services."""
    services: list[Process] = [
        grid.run("-m", "distq", "master", launcher=("-c", NOHUP)),
        grid.run("-m", "distq", "worker", "tests.e2e.tasks", launcher=("-c", NOHUP)),
    ]
    services[1].executors()
    for service in services:
        service.signal(signal.SIGHUP)
    with grid.client() as client:
        assert client.submit_named("tests.e2e.tasks:square", [3]).result(SOON_S) == 9
    for service in reversed(services):
        service.signal(signal.SIGTERM)
        assert service.ends() == 0, service.text
        assert "SIGHUP" not in service.text
