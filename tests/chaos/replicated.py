"""The chaos test with three masters on a real PostgreSQL: `python -m tests.chaos.replicated SEED TASKS`.

Besides the workers, executors and clients of `tests.chaos.run`, it kills, terminates and freezes leaders and standbys,
crashes the database, and cuts or stalls the connections of one master to the database, and of peers to one master,
mostly the leader. Each master reaches the database through a proxy of its own, and peers reach it through another one;
a network namespace for each would need root. Half of the masters advertise their proxy, so that standbys reach the
leader through it too.

At first one fault after the other meets the leader while tasks run that have run for more than a second: each of them
must run once. In the end every client that lived has a result of each of its tasks.
"""

from __future__ import annotations

import math
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from tests.chaos.run import FREEZE_S_MAX, Chaos, chaos
from tests.chaos.tasks import leave_a_trace
from tests.e2e.cluster import KEY, Cluster, Process
from tests.ports import free_port
from tests.storage.postgresql.server import PostgresServer, server_in, short_folder
from tests.waiting import SOON_S, eventually

from distq import Client

MASTERS: Final = 3
HELD: Final = 2
"""Tasks that run during a fault that meets the leader while all other faults pause."""
HELD_S: Final = 4.0
HOLDS: Final = 3
"""Such faults in a run, of four kinds; which one comes first depends on the seed."""
STORED_AFTER_S: Final = 1.6
"""Seconds of a run after which its lease is in the database: the leader stores leases that are older than a second."""
LEADER_SHARE: Final = 0.5
PEERS_SHARE: Final = 0.8
PROXY_SHARE: Final = 0.5
"""Share of the masters that advertise the proxy before them."""
LEADER_LEASE: Final = "1s"
"""Shorter than most freezes, so that frozen leaders are replaced."""


class ReplicatedChaos(Chaos):
    """The run of one seed with several masters."""

    def __init__(self, grid: Cluster, folder: Path, seed: int, tasks: int, server: PostgresServer) -> None:
        self.server = server
        self.masters: list[Process] = []
        self.ports = [free_port() for _ in range(MASTERS)]
        self.stores: list[str] = []
        """The URL of the database for each master, by its own proxy."""
        self.fronts: list[int] = []
        """The port of the proxy through which peers reach each master."""
        self.held: list[int] = []
        """The numbers of tasks that must run once."""
        self.every_client: list[tuple[int, int, subprocess.Popen[bytes]]] = []
        """The number of the first task of each client, the count of its tasks, and its process."""
        self.first_fault = seed
        """Which of the faults that long tasks must survive comes first."""
        super().__init__(grid, folder, seed, tasks)

    def _start(self) -> str:
        self.masters_addresses = [("127.0.0.1", port) for port in self.ports]
        self.settings |= {"DISTQ_LEASE_S": "4s", "DISTQ_RECLAIM_S": "4s"}
        ports = [self._proxy(self.server.port) for _ in self.ports]
        self.fronts = [self._proxy(port) for port in self.ports]
        self.stores = [f"postgresql://distq@127.0.0.1:{port}/postgres" for port in ports]
        self.masters = [self._replica(number) for number in range(MASTERS)]
        eventually(self._leader, "a master leads")
        return ",".join(f"127.0.0.1:{port}" for port in self.fronts)

    def _leader(self) -> str:
        """Return the address of the newest leader, '' before the first."""
        if self.server.sql("SELECT to_regclass('distq.distq_clusters')") == [(None,)]:
            return ""
        return "".join(leader for (leader,) in self.server.sql("SELECT leader FROM distq.distq_clusters"))

    def _replica(self, number: int) -> Process:
        address = f"127.0.0.1:{self.ports[number]}"
        settings = {**self.settings, "DISTQ_STORE": self.stores[number], "DISTQ_LEADER_LEASE_S": LEADER_LEASE}
        if self.dice.random() < PROXY_SHARE:
            settings["DISTQ_ADVERTISE"] = f"127.0.0.1:{self.fronts[number]}"
        return self.grid.run("master", **settings, DISTQ_ADDRESS=address, DISTQ_BIND=address)

    def _client(self) -> None:
        first = self.submitted
        super()._client()
        self.every_client.append((first, self.submitted - first, self.clients[-1]))

    def _victim(self, share: float = LEADER_SHARE) -> int:
        """Return the number of a master, with this probability the leader."""
        port = int(self._leader().rpartition(":")[2] or 0)
        found = [number for number, ports in enumerate(zip(self.ports, self.fronts, strict=True)) if port in ports]
        return found[0] if found and self.dice.random() < share else self.dice.randrange(MASTERS)

    def _replace_a_master(self, number: signal.Signals, at: int | None = None) -> None:
        at = self._victim() if at is None else at
        self.masters[at].signal(number)
        self.masters[at].ends()
        self.masters[at] = self._replica(at)

    def kill_the_master(self) -> None:
        """Kill a leader or a standby with SIGKILL, and start another one."""
        self._replace_a_master(signal.SIGKILL)

    def end_the_master(self) -> None:
        """Terminate a leader, which hands over, or a standby."""
        self._replace_a_master(signal.SIGTERM)

    def freeze_the_master(self) -> None:
        """Freeze a leader, mostly for longer than its lease, or a standby."""
        self._freeze([self.masters[self._victim()].popen.pid])

    def crash_the_database(self) -> None:
        """Kill the database's processes at one instant, and start it again."""
        self.server.kill()
        self.server.start()

    def cut_connections(self) -> None:
        """Cut some connections of one master to the database, or all."""
        self._order(f"cut {self.dice.choice((0.5, 1.0))}", [self.proxies[self._victim()]])

    def cut_peers(self) -> None:
        """Cut some connections of clients, workers and standbys to one master, mostly the leader, or all."""
        self._order(f"cut {self.dice.choice((0.5, 1.0))}", [self._front(self._victim(PEERS_SHARE))])

    def stall_peers(self) -> None:
        """Separate one master, mostly the leader, from clients, workers and standbys for a while; then cut them."""
        self._stall([self._front(self._victim(PEERS_SHARE))])
        if self.dice.random() < LEADER_SHARE:
            self.cut_peers()

    def freeze_a_client(self) -> None:
        """Freeze a client for a while."""
        if self.clients:
            self._freeze([self.dice.choice(self.clients).pid])

    def _front(self, number: int) -> subprocess.Popen[bytes]:
        return self.proxies[MASTERS + number]

    def stall_connections(self) -> None:
        """Separate one master from the database for a while."""
        self._stall([self.proxies[self._victim()]])

    def _stall(self, proxies: list[subprocess.Popen[bytes]]) -> None:
        self._order("stall", proxies)
        time.sleep(self.dice.random() * FREEZE_S_MAX)  # the length of the fault
        self._order("flow", proxies)

    def kinds(self) -> tuple[tuple[int, Callable[[], None]], ...]:
        """Return all faults, with their weights."""
        return (
            (20, self.kill_the_master),
            (8, self.end_the_master),
            (8, self.freeze_the_master),
            (4, self.crash_the_database),
            (10, self.kill_a_worker),
            (10, self.kill_all_of_a_worker),
            (10, self.kill_an_executor),
            (3, self.end_a_worker),
            (3, self.freeze_a_worker),
            (8, self.cut_connections),
            (8, self.stall_connections),
            (8, self.cut_peers),
            (6, self.stall_peers),
            (2, self.freeze_a_client),
            (2, self.kill_a_client),
        )

    # -- tasks that must run once --------------------------------------------------------------

    def run(self) -> None:
        """Make the faults that long tasks must survive, one after the other; then run as with one master."""
        faults = (self._kill_the_leader, self._end_the_leader, self._freeze_the_leader, self._separate_the_leader)
        for number in range(HOLDS):
            self._break(faults[(self.first_fault + number) % len(faults)])
        super().run()

    def _kill_the_leader(self) -> None:
        self._hold_over(lambda at: self._replace_a_master(signal.SIGKILL, at))

    def _end_the_leader(self) -> None:
        self._hold_over(lambda at: self._replace_a_master(signal.SIGTERM, at))

    def _freeze_the_leader(self) -> None:
        self._hold_over(lambda at: self._freeze([self.masters[at].popen.pid]))

    def _separate_the_leader(self) -> None:
        self._hold_over(lambda at: self._stall([self._front(at)]))

    def _hold_over(self, fault: Callable[[int], None]) -> None:
        """Let tasks run for more than a second, make a fault of the leader, and wait for their results."""
        first = self.tasks + len(self.held)
        numbers = range(first, first + HELD)
        with Client(self.address, KEY) as client:
            futures = [client.options(priority=9).submit(leave_a_trace, number, HELD_S) for number in numbers]
            eventually(lambda: all(self._runs()[number] for number in numbers), "the long tasks run")
            self.held += numbers
            time.sleep(STORED_AFTER_S)  # then the next commit stores their leases
            assert client.submit(math.sqrt, 4.0).result(SOON_S) == 2
            fault(self._victim(1.0))
            assert [future.result(SOON_S) for future in futures] == list(numbers)

    def check(self) -> str:
        """Check what the run has left, and return the report. Raises AssertionError."""
        report = super().check()
        runs = self._runs()
        for number in self.held:
            assert len(runs[number]) == 1, f"the long task {number} ran at {runs[number]}, with faults {self.faults}"
        for first, count, client in self.every_client:
            assert client.returncode in (0, -signal.SIGKILL), f"the client of task {first} ended: {client.returncode}"
            results = len((self.folder / f"results-{first}").read_text().splitlines())
            assert results == count or client.returncode, f"the client of task {first} has {results} of {count} results"
        return f"{report}\n{len(self.held)} long tasks ran once, each while a fault met the leader."


def main() -> None:
    """Run the seed and the number of tasks of the command line."""
    seed, tasks = int(sys.argv[1]), int(sys.argv[2])
    folder = Path(tempfile.mkdtemp(prefix="distq-chaos-"))
    started_at = time.monotonic()  # noqa: TID251 - how long it took
    print(f"seed {seed}, {tasks:,} tasks, traces and logs in {folder}")
    with short_folder() as database, server_in(database) as server:
        print(chaos(lambda grid, traces: ReplicatedChaos(grid, traces, seed, tasks, server), folder / "run"))
        ((epochs,),) = server.sql("SELECT epoch FROM distq.distq_clusters")
    print(f"{epochs} leaderships, {time.monotonic() - started_at:.0f} s")  # noqa: TID251 - as above


if __name__ == "__main__":
    main()
