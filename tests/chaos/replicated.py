"""The chaos test with three masters on a real PostgreSQL: `python -m tests.chaos.replicated SEED TASKS`.

Besides the workers, executors and clients of `tests.chaos.run`, it kills, terminates and freezes leaders and standbys,
crashes the database, and cuts or stalls the connections of one master to the database. Each master reaches the database
through a proxy of its own, so that the others go on; a network namespace for each would need root.
"""

from __future__ import annotations

import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from tests.chaos.run import FREEZE_S_MAX, Chaos, chaos
from tests.e2e.cluster import Cluster, Process
from tests.ports import free_port
from tests.storage.postgresql.server import PostgresServer, server_in, short_folder
from tests.waiting import eventually

MASTERS: Final = 3
LEADER_SHARE: Final = 0.5
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
        super().__init__(grid, folder, seed, tasks)

    def _start(self) -> str:
        self.masters_addresses = [("127.0.0.1", port) for port in self.ports]
        ports = [self._proxy(self.server.port) for _ in self.ports]
        self.stores = [f"postgresql://distq@127.0.0.1:{port}/postgres" for port in ports]
        self.masters = [self._replica(number) for number in range(MASTERS)]
        eventually(self._leader, "a master leads")
        return ",".join(f"127.0.0.1:{port}" for port in self.ports)

    def _leader(self) -> str:
        """Return the address of the newest leader, '' before the first."""
        if self.server.sql("SELECT to_regclass('distq.distq_clusters')") == [(None,)]:
            return ""
        return "".join(leader for (leader,) in self.server.sql("SELECT leader FROM distq.distq_clusters"))

    def _replica(self, number: int) -> Process:
        address = f"127.0.0.1:{self.ports[number]}"
        settings = {**self.settings, "DISTQ_STORE": self.stores[number], "DISTQ_LEADER_LEASE_S": LEADER_LEASE}
        return self.grid.run("master", **settings, DISTQ_ADDRESS=address, DISTQ_BIND=address)

    def _victim(self) -> int:
        """Return the number of a master: half the time the leader."""
        leader = self._leader()
        found = [number for number, port in enumerate(self.ports) if leader.endswith(f":{port}")]
        return found[0] if found and self.dice.random() < LEADER_SHARE else self.dice.randrange(MASTERS)

    def _replace_a_master(self, number: signal.Signals) -> None:
        at = self._victim()
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

    def stall_connections(self) -> None:
        """Separate one master from the database for a while."""
        proxies = [self.proxies[self._victim()]]
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
            (2, self.kill_a_client),
        )


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
