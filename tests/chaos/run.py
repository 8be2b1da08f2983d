"""The chaos test with real processes: `python -m tests.chaos.run SEED TASKS`, or `make chaos`.

The test kills, freezes and terminates masters, workers, executors and clients, and cuts, stalls and delays connections,
while tasks leave traces outside of distq. In the end every task that a master has accepted must have one terminal state
and at least one run, and every run beyond the first must have a fault before it.
"""

from __future__ import annotations

import os
import random
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Any, Final, NamedTuple

from tests.chaos.harness import run_on_cluster
from tests.chaos.tasks import FOLDER
from tests.e2e.cluster import KEY, Cluster, Process
from tests.ports import free_port
from tests.tidy.tree import ROOT

from distq.core.states import DEAD, STATE_NAMES, SUCCEEDED
from distq.core.task_ids import task_key_of
from distq.net.dial import dial
from distq.wire.errors import RemoteRefusal

OF_A_CLIENT: Final = 1_000
"""Tasks that one client submits."""
CLIENTS: Final = 2
BETWEEN_FAULTS_S: Final = 0.15
FREEZE_S_MAX: Final = 3.0
KEYS_PER_CALL: Final = 5_000
"""Approximate number of tasks in one call to a master."""
REST_S: Final = 180.0
"""Maximum seconds from the last fault to the end of all tasks."""
SETTINGS: Final = {
    "DISTQ_LEASE_S": "2s",
    "DISTQ_HEARTBEAT_S": "0.5s",
    "DISTQ_RECLAIM_S": "2s",
    "DISTQ_DRAIN_S": "3s",
    "DISTQ_LOG_LEVEL": "warning",
    "DISTQ_MAX_DELIVERIES": "50",
}


class Run(NamedTuple):
    """One run of a task, read from its trace; `ended_at` is 0 if the run has no end."""

    began_at: float
    ended_at: float


class Chaos:
    """The run of one seed."""

    modules = ("tests.chaos.tasks",)
    client = "tests.chaos.client"
    workers_settings: tuple[dict[str, str], ...] = ({}, {})
    """The settings of each worker, besides the settings that all workers share."""

    def __init__(self, grid: Cluster, folder: Path, seed: int, tasks: int) -> None:
        self.grid = grid
        self.folder = folder
        self.dice = random.Random(seed)
        self.tasks = tasks
        self.faults: list[tuple[float, str]] = []
        self.submitted = 0
        self.clients: list[subprocess.Popen[bytes]] = []
        self.proxies: list[subprocess.Popen[bytes]] = []
        self.settings = {**SETTINGS, "DISTQ_STORE": f"sqlite:///{folder / 'queue.db'}"}
        self.masters_addresses = [("127.0.0.1", grid.port)]
        """Where the test asks for the states of tasks."""
        self.address = self._start()
        """Where workers and clients reach the master."""
        self.workers = [self._worker(**settings) for settings in self.workers_settings]

    # -- processes -----------------------------------------------------------------------------

    def _start(self) -> str:
        """Start a master behind a proxy, and return the address of the proxy."""
        self.master = self._master()
        return f"127.0.0.1:{self._proxy(self.grid.port)}"

    def _proxy(self, target_port: int) -> int:
        """Start a proxy, and return its port."""
        port = free_port()
        command = [sys.executable, "-m", "tests.chaos.proxy", str(port), str(target_port)]
        self.proxies.append(subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE))
        return port

    def _master(self) -> Process:
        address = f"127.0.0.1:{self.grid.port}"
        return self.grid.run("master", **self.settings, DISTQ_ADDRESS=address)

    def _worker(self, **overrides: str) -> Process:
        settings = {**self.settings, "DISTQ_ADDRESS": self.address, FOLDER: str(self.folder), **overrides}
        return self.grid.run("worker", *self.modules, "--concurrency", "2", **settings)

    def _client(self) -> None:
        command = [sys.executable, "-m", self.client, str(self.folder), self.address]
        count = min(OF_A_CLIENT, self.tasks - self.submitted)
        with (self.folder / "clients.log").open("ab") as log:
            client = subprocess.Popen([*command, str(self.submitted), str(count)], cwd=ROOT, stderr=log)
        self.submitted += count
        self.clients.append(client)

    def _order(self, text: str, proxies: Sequence[subprocess.Popen[bytes]] = ()) -> None:
        for proxy in proxies or self.proxies:
            assert proxy.stdin is not None
            proxy.stdin.write(text.encode() + b"\n")
            proxy.stdin.flush()

    # -- faults --------------------------------------------------------------------------------

    def kill_the_master(self) -> None:
        """Kill the master with SIGKILL, and start another one."""
        self.master.signal(signal.SIGKILL)
        self.master.ends()
        self.master = self._master()

    def end_the_master(self) -> None:
        """Terminate the master with SIGTERM, so that it drains."""
        self.master.signal(signal.SIGTERM)
        self.master.ends()
        self.master = self._master()

    def freeze_the_master(self) -> None:
        """Freeze the master with SIGSTOP, and send SIGCONT after a while."""
        self._freeze([self.master.popen.pid])

    def kill_a_worker(self) -> None:
        """Kill a supervisor; its executors die with it."""
        self._replace(signal.SIGKILL)

    def kill_all_of_a_worker(self) -> None:
        """Kill a supervisor and its executors at the same time."""
        worker = self.dice.choice(self.workers)
        for pid in [worker.popen.pid, *worker.children()]:
            _kill(pid, signal.SIGKILL)
        self._replace(signal.SIGKILL, worker)

    def kill_an_executor(self) -> None:
        """Kill one executor of a worker."""
        for pid in self.dice.choice(self.workers).children()[:1]:
            _kill(pid, signal.SIGKILL)

    def end_a_worker(self) -> None:
        """Terminate a worker with SIGTERM, so that it drains."""
        self._replace(signal.SIGTERM)

    def freeze_a_worker(self) -> None:
        """Freeze a worker, sometimes for longer than its leases."""
        worker = self.dice.choice(self.workers)
        self._freeze([worker.popen.pid, *worker.children()])

    def cut_connections(self) -> None:
        """Cut some connections, or all."""
        self._order(f"cut {self.dice.choice((0.2, 0.5, 1.0))}")

    def stall_connections(self) -> None:
        """Let no bytes through for a while."""
        self._order("stall")
        time.sleep(self.dice.random() * FREEZE_S_MAX)  # the length of the fault
        self._order("flow")

    def delay_connections(self) -> None:
        """Delay all bytes until the next command."""
        self._order(f"delay {self.dice.choice((0.0, 0.001, 0.05))}")

    def kill_a_client(self) -> None:
        """Kill a client at any time; its tasks run nevertheless."""
        if self.clients and self.dice.random() < 0.2:
            self.dice.choice(self.clients).kill()

    def _replace(self, number: int, worker: Process | None = None) -> None:
        worker = worker or self.dice.choice(self.workers)
        worker.signal(number)
        worker.ends()
        at = self.workers.index(worker)
        self.workers[at] = self._worker(**self.workers_settings[at])

    def _freeze(self, pids: list[int]) -> None:
        for pid in pids:
            _kill(pid, signal.SIGSTOP)
        time.sleep(self.dice.random() * FREEZE_S_MAX)  # the length of the fault
        for pid in pids:
            _kill(pid, signal.SIGCONT)

    def break_something(self) -> None:
        """Make one fault of the schedule."""
        kinds = self.kinds()
        (fault,) = self.dice.choices([fault for _, fault in kinds], [weight for weight, _ in kinds])
        self._break(fault)

    def kinds(self) -> tuple[tuple[int, Callable[[], None]], ...]:
        """Return all faults, with their weights."""
        return (
            (20, self.kill_the_master),
            (3, self.end_the_master),
            (3, self.freeze_the_master),
            (30, self.kill_a_worker),
            (20, self.kill_all_of_a_worker),
            (15, self.kill_an_executor),
            (5, self.end_a_worker),
            (3, self.freeze_a_worker),
            (10, self.cut_connections),
            (3, self.stall_connections),
            (5, self.delay_connections),
            (2, self.kill_a_client),
        )

    def _break(self, fault: Callable[[], None]) -> None:
        self.faults.append((time.time(), fault.__name__))  # noqa: TID251 - compared with the traces
        fault()

    # -- the run -------------------------------------------------------------------------------

    def run(self) -> None:
        """Make faults until every task is submitted and every client has ended; then let every task end."""
        while self.submitted < self.tasks or any(client.poll() is None for client in self.clients):
            self.clients = [client for client in self.clients if client.poll() is None]
            while len(self.clients) < CLIENTS and self.submitted < self.tasks:
                self._client()
            if self.submitted < self.tasks:
                self.break_something()
            time.sleep(self.dice.random() * 2 * BETWEEN_FAULTS_S)  # the time between two faults
        self._order("delay 0")
        self._order("flow")
        until = time.monotonic() + REST_S  # noqa: TID251 - real processes live in real time
        while (live := self._live()) != 0:
            assert time.monotonic() < until, f"{live} tasks do not come to their end"  # noqa: TID251 - as above
            time.sleep(0.2)  # no event announces that all tasks have ended

    def _live(self) -> int | None:
        with suppress(Exception):
            tasks = self._ask("stats", "overview")["tasks"]
            return int(tasks["ready"] + tasks["delayed"] + tasks["held"] + tasks["leased"])
        return None

    def _ask(self, method: str, *args: object, role: str = "cli") -> Any:
        connection = dial(self.masters_addresses, KEY.encode(), timeout_s=10)
        try:
            info = {"role": role, "protocol": [1, 1], "version": "chaos", "session": secrets.token_hex(8)}
            connection.call("broker", "hello", (info,), timeout_s=10)
            return connection.call("broker", method, args, timeout_s=60)
        except RemoteRefusal as error:
            raise AssertionError(str(error)) from error
        finally:
            connection.close()

    def end(self) -> None:
        """End the processes that do not belong to the cluster."""
        for process in (*self.clients, *self.proxies):
            with process:  # waits for the process, and closes its pipes
                process.kill()

    # -- the end -------------------------------------------------------------------------------

    def check(self) -> str:
        """Check what the run has left, and return the report. Raises AssertionError."""
        accepted = {int(number): ident for path in self.folder.glob("accepted-*") for number, ident in _pairs(path)}
        keys = {task_key_of(ident): number for number, ident in accepted.items()}
        states = {keys[key]: state for key, state, _, _ in self._ends(list(keys))}
        runs = self._runs()
        unknown = sorted(accepted.keys() - states.keys())
        assert not unknown, f"{len(unknown)} accepted tasks have no terminal state: {unknown[:10]}"
        ends = Counter(STATE_NAMES[state] for state in states.values())
        lost = [number for number, state in states.items() if state not in (SUCCEEDED, DEAD)]
        assert not lost, f"{len(lost)} accepted tasks are lost: {lost[:10]}, {ends}"
        idle = [number for number, state in states.items() if state == SUCCEEDED and not runs[number]]
        assert not idle, f"{len(idle)} tasks have succeeded and never ran: {idle[:10]}"
        self._check_results()
        again = {number: found for number, found in runs.items() if len(found) > 1}
        for number, found in again.items():
            self._explain(number, found)
        kinds = Counter(kind for _, kind in self.faults)
        kills = sum(count for kind, count in kinds.items() if kind.startswith("kill") and "worker" in kind)
        return (
            f"{len(accepted):,} accepted of {self.tasks:,}: {dict(ends)}; {len(again):,} ran more than once, each "
            f"behind a fault.\n{kinds['kill_the_master']} master kills, {kills} worker kills, {len(self.faults)} "
            f"faults in all: {dict(kinds.most_common())}"
        )

    def _ends(self, keys: list[int]) -> Iterator[Any]:
        """Return how tasks have ended, as rows of `watch`."""
        for start in range(0, len(keys), KEYS_PER_CALL):
            yield from self._ask("watch", keys[start : start + KEYS_PER_CALL], role="client")

    def _runs(self) -> defaultdict[int, list[Run]]:
        runs: defaultdict[int, list[Run]] = defaultdict(list)
        for path in self.folder.glob("runs-*"):
            open_: dict[int, float] = {}
            for line in path.read_text().splitlines():
                event, number, at = line.split()
                if event == "begin":
                    open_[int(number)] = float(at)
                else:
                    runs[int(number)].append(Run(open_.pop(int(number)), float(at)))
            for left, began_at in open_.items():
                runs[left].append(Run(began_at, 0.0))
        return runs

    def _check_results(self) -> None:
        """Check that a client that lived has the result of each of its tasks, and that each is a success."""
        for path in self.folder.glob("results-*"):
            for number, text in _pairs(path):
                assert text == number, f"task {number} gave its client {text!r}"

    def _explain(self, number: int, runs: list[Run]) -> None:
        runs.sort()
        for before, after in pairwise(runs):
            faults = [kind for at, kind in self.faults if before.began_at - 5.0 <= at <= after.began_at]
            assert faults, f"task {number} ran again at {after.began_at} without a fault since {before}"


def _pairs(path: Path) -> list[tuple[str, str]]:
    found = [line.partition(" ")[::2] for line in path.read_text().splitlines()]
    return [(number, text) for number, text in found if text]


def _kill(pid: int, number: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, number)


def chaos(make: Callable[[Cluster, Path], Chaos], folder: Path) -> str:
    """Run one seed with a cluster and a folder for traces, and return the report. Raises AssertionError."""
    traces = folder / "traces"
    traces.mkdir(parents=True)
    return run_on_cluster(lambda grid: make(grid, traces), folder)


def main() -> None:
    """Run the seed and the number of tasks of the command line."""
    seed, tasks = int(sys.argv[1]), int(sys.argv[2])
    folder = Path(tempfile.mkdtemp(prefix="distq-chaos-"))
    started_at = time.monotonic()  # noqa: TID251 - how long it took
    print(f"seed {seed}, {tasks:,} tasks, traces and logs in {folder}")
    print(chaos(lambda grid, traces: Chaos(grid, traces, seed, tasks), folder / "run"))
    print(f"{time.monotonic() - started_at:.0f} s")  # noqa: TID251 - as above


if __name__ == "__main__":
    main()
