"""Real masters and workers, as processes of a test's own on free ports: started, watched, always ended."""

import json
import os
import signal
import subprocess
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing.managers import BaseProxy
from pathlib import Path
from typing import Any

from tests.tidy.tree import ROOT
from tests.waiting import SOON_S, eventually
from tests.wire import programs

from distq import Client, QueueManager
from distq.demo.cluster import free_port

KEY = "a key of the tests that is long enough"

Event = dict[str, Any]


class Process:
    """One distq process and its log."""

    def __init__(self, launcher: Sequence[str], arguments: list[str], environ: dict[str, str], log: Path) -> None:
        self.log = log
        with log.open("wb") as stream:
            self.popen = subprocess.Popen(
                [*launcher, *arguments],
                env=environ,
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=stream,
                start_new_session=True,
            )

    @property
    def text(self) -> str:
        """All that it has said."""
        return self.log.read_text()

    def events(self, name: str, **fields: object) -> list[Event]:
        """What it has logged of this name and with these fields."""
        logged = (json.loads(line) for line in self.text.splitlines() if line.startswith("{") and line.endswith("}"))
        return [event for event in logged if event["event"] == name and fields.items() <= event.items()]

    def logs(self, name: str, *, times: int = 1, **fields: object) -> list[Event]:
        """Wait until it has logged such an event so many times."""
        found: list[Event] = []

        def enough() -> bool:
            ended = self.popen.poll() is not None
            found[:] = self.events(name, **fields)
            assert len(found) >= times or not ended, f"it ended without {times} x {name} {fields}\n{self.text}"
            return len(found) >= times

        eventually(enough, f"{times} x {name} {fields}", lambda: self.text)
        return found

    def signal(self, number: int) -> None:
        """Send it, and nobody else, a signal."""
        self.popen.send_signal(number)

    def ends(self) -> int:
        """Wait until it has ended; its exit code, negative for a signal."""
        return self.popen.wait(SOON_S)

    def children(self) -> list[int]:
        """The process ids of its executors."""
        pid = self.popen.pid
        with suppress(OSError):
            return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
        return []

    def executors(self, count: int = 1) -> list[int]:
        """Wait until so many executors work; their process ids."""
        self.logs("executor_joined", times=count)
        return self.children()

    def destroy(self) -> None:
        """Kill it and its executors, whatever they do."""
        for pid in [*self.children(), self.popen.pid]:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.popen.wait()


class Cluster:
    """A master's address and key, and the processes that use them."""

    def __init__(self, folder: Path) -> None:
        self.python = sys.executable
        """What its processes run on."""
        self.port = free_port()
        self.http_port = free_port()
        self.processes: list[Process] = []
        self._folder = folder

    def run(self, *arguments: str, launcher: Sequence[str] = ("-m", "distq"), **settings: str) -> Process:
        """Start a command with the cluster's settings and these."""
        environ = {name: text for name, text in os.environ.items() if not name.startswith("DISTQ_")}
        environ |= {
            "DISTQ_ADDRESS": f"127.0.0.1:{self.port}",
            "DISTQ_AUTHKEY": KEY,
            "DISTQ_HTTP_ADDRESS": "off",
            "DISTQ_STORE": "memory:",
            "DISTQ_LOG_LEVEL": "debug",
            "DISTQ_LOG_FORMAT": "json",
            "DISTQ_RECONNECT_MAX_S": "0.2",
            **settings,
        }
        log = self._folder / f"{len(self.processes)}-{arguments[0]}.log"
        process = Process((self.python, *launcher), list(arguments), environ, log)
        self.processes.append(process)
        return process

    def master(self, **settings: str) -> Process:
        """Start a master and wait until it listens."""
        master = self.run("master", **settings)
        master.logs("master_listened")
        return master

    def worker(self, handler: str, concurrency: int = 1, **settings: str) -> Process:
        """Start a worker with one of `tests.e2e.handlers`; it need not be connected yet."""
        name = f"tests.e2e.handlers:{handler}"
        return self.run("worker", "--plain-handler", name, "--concurrency", str(concurrency), **settings)

    def tasks(self, concurrency: int = 1, *more: str, **settings: str) -> Process:
        """Start a worker of `tests.e2e.tasks`."""
        return self.run("worker", "tests.e2e.tasks", "--concurrency", str(concurrency), *more, **settings)

    def says(self, *arguments: str) -> Any:
        """What a command prints as JSON."""
        command = self.run(*arguments)
        assert command.ends() == 0, command.text
        return json.loads(command.text)

    def client(self) -> Client:
        """A client for the length of a `with`."""
        return Client(f"127.0.0.1:{self.port}", KEY)

    def manager(self) -> QueueManager:
        """A connected client."""
        # The standard library keeps a broken connection for ever, by address.
        BaseProxy._address_to_local.clear()
        manager = QueueManager(("127.0.0.1", self.port), KEY.encode())
        manager.connect()
        return manager

    def program(self, source: str, *arguments: str, interpreter: str = sys.executable) -> "subprocess.Popen[str]":
        """Start a program of the standard library alone; it is given port and key first."""
        return programs.start(interpreter, source, str(self.port), KEY, *arguments)

    def end(self) -> None:
        """End everything."""
        for process in self.processes:
            process.destroy()


@contextmanager
def cluster(folder: Path) -> Iterator[Cluster]:
    """A cluster that is gone afterwards; its logs stay in the folder."""
    made = Cluster(folder)
    try:
        yield made
    finally:
        made.end()


def fork() -> int:
    """Fork this process, which has threads: Python 3.12 and newer warn, and as an error that would leave a child."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return os.fork()


def lives(pid: int) -> bool:
    """Whether there is such a process, and it is no mere zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
