"""Masters and workers as real processes of one test, on free ports; the test ends all of them."""

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

from tests.ports import free_port
from tests.tidy.tree import ROOT
from tests.waiting import SOON_S, eventually
from tests.wire import programs

from distq import Client, QueueManager

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
        """Return the process's log so far."""
        return self.log.read_text()

    def events(self, name: str, **fields: object) -> list[Event]:
        """Return the logged events with this name and these fields."""
        logged = (json.loads(line) for line in self.text.splitlines() if line.startswith("{") and line.endswith("}"))
        return [event for event in logged if event["event"] == name and fields.items() <= event.items()]

    def logs(self, name: str, *, times: int = 1, **fields: object) -> list[Event]:
        """Wait until the process has logged such an event `times` times."""
        found: list[Event] = []

        def enough() -> bool:
            ended = self.popen.poll() is not None
            found[:] = self.events(name, **fields)
            assert len(found) >= times or not ended, f"it ended without {times} x {name} {fields}\n{self.text}"
            return len(found) >= times

        eventually(enough, f"{times} x {name} {fields}", lambda: self.text)
        return found

    def signal(self, number: int) -> None:
        """Send a signal to this process only."""
        self.popen.send_signal(number)

    def ends(self) -> int:
        """Wait until the process has ended, and return its exit code; a negative one is a signal."""
        return self.popen.wait(SOON_S)

    def children(self) -> list[int]:
        """Return the process ids of its executors."""
        pid = self.popen.pid
        with suppress(OSError):
            return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
        return []

    def executors(self, count: int = 1) -> list[int]:
        """Wait until `count` executors have joined, and return the process ids."""
        self.logs("executor_joined", times=count)
        return self.children()

    def destroy(self) -> None:
        """Kill the process and its executors."""
        for pid in [*self.children(), self.popen.pid]:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.popen.wait()


class Cluster:
    """A master's address and key, and the processes that use them."""

    def __init__(self, folder: Path) -> None:
        self.python = sys.executable
        """The path of the Python that runs the processes."""
        self.port = free_port()
        self.http_port = free_port()
        self.processes: list[Process] = []
        self._folder = folder

    def run(self, *arguments: str, launcher: Sequence[str] = ("-m", "distq"), **settings: str) -> Process:
        """Start a command with the cluster's settings and the given settings."""
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
        """Start a worker with one of `tests.e2e.handlers`; the worker need not be connected yet."""
        name = f"tests.e2e.handlers:{handler}"
        return self.run("worker", "--plain-handler", name, "--concurrency", str(concurrency), **settings)

    def tasks(self, concurrency: int = 1, *arguments: str, **settings: str) -> Process:
        """Start a worker of `tests.e2e.tasks`."""
        return self.run("worker", "tests.e2e.tasks", "--concurrency", str(concurrency), *arguments, **settings)

    def json_of(self, *arguments: str) -> Any:
        """Return the JSON output of a command."""
        command = self.run(*arguments)
        assert command.ends() == 0, command.text
        return json.loads(command.text)

    def count_of(self, state: str) -> int:
        """Return the number of tasks in this state over all queues, as `distq status` shows it."""
        return sum(queue[state] for queue in self.json_of("status", "--json")["queues"]["queues"])

    def client(self) -> Client:
        """Return a client for a `with` statement."""
        return Client(f"127.0.0.1:{self.port}", KEY)

    def manager(self) -> QueueManager:
        """Return a connected manager."""
        # The standard library keeps a broken connection forever, by address.
        BaseProxy._address_to_local.clear()
        manager = QueueManager(("127.0.0.1", self.port), KEY.encode())
        manager.connect()
        return manager

    def program(self, source: str, *arguments: str, interpreter: str = sys.executable) -> "subprocess.Popen[str]":
        """Start a program that uses only the standard library; its first arguments are the port and the key."""
        return programs.start(interpreter, source, str(self.port), KEY, *arguments)

    def end(self) -> None:
        """End every process."""
        for process in self.processes:
            process.destroy()


@contextmanager
def cluster(folder: Path) -> Iterator[Cluster]:
    """Yield a cluster and end its processes afterwards; the logs stay in the folder."""
    made = Cluster(folder)
    try:
        yield made
    finally:
        made.end()


def fork() -> int:
    """Fork this process, which has threads.

    Python 3.12 and newer warn about that; as an error, the warning would leave a child behind.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return os.fork()


def descendants(pid: int) -> set[int]:
    """Return all living descendants of a process."""
    found: set[int] = set()
    with suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in map(int, (task / "children").read_text().split()):
                found |= {child} | descendants(child)
    return found


def lives(pid: int) -> bool:
    """Return whether the process exists and is not a zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
