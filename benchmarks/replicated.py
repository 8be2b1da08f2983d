"""Measures several masters on PostgreSQL, and a master on SQLite in the same run: `python -m benchmarks.replicated`.

It starts a PostgreSQL server of its own, from Debian's package, on the disk of the present folder. `python -m
benchmarks.replicated takeover handover` measures only these rows.
"""

from __future__ import annotations

import os
import select
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Final, NamedTuple

from tests.storage.postgresql.server import PostgresServer, server_in, short_folder, standby_of

from benchmarks.durable import POSTGRESQL_RATE_MIN, POSTGRESQL_TRIP_MAX, measure
from benchmarks.many_tasks import BATCH, BODY, ENVELOPE, client_of
from benchmarks.measure import show, time_text
from benchmarks.processes import AUTHKEY, Running, process
from benchmarks.tasks import square
from distq import Client
from distq.demo.cluster import free_port

Row = tuple[str, ...]
SERVER: Final = ("shared_buffers=128MB", "max_wal_size=4GB")
SYNCHRONOUS_RATE_MIN: Final = 0.45
"""Required tasks/s with a synchronous standby, as a part of SQLite's."""
WARM_UP: Final = 200
TAKEOVERS: Final = 20
HANDOVERS: Final = 20
LEASE_S: Final = 5.0
FROZEN_S: Final = 60.0
QUEUED: Final = 1_000_000
START_S: Final = 120.0
"""Maximum seconds until a master leads, or stands by with a complete copy."""
LOOK_S: Final = 0.01


class Node(NamedTuple):
    """One running master."""

    child: subprocess.Popen[bytes]
    http_port: int
    port: int

    def page(self, path: str) -> str:
        """Return a page, '' if the master does not answer."""
        with suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{self.http_port}{path}", timeout=5) as answer:
            text: str = answer.read().decode()
            return text
        return ""

    def has(self, line: str) -> bool:
        """Whether the metrics contain this line."""
        return line in self.page("/metrics").splitlines()

    @property
    def leads(self) -> bool:
        """Whether it says that it leads."""
        return self.has("distq_leader 1")


class Group:
    """Masters on one database; those that have ended are started again."""

    def __init__(self, stack: ExitStack, store: str, count: int = 2) -> None:
        self.stack = stack
        self.store = store
        self.ports = [free_port() for _ in range(count)]
        self.addresses = ",".join(f"127.0.0.1:{port}" for port in self.ports)
        self.nodes = [self.start(number) for number in range(count)]

    def start(self, number: int) -> Node:
        """Start one master."""
        http_port, port = free_port(), self.ports[number]
        environ = {
            "DISTQ_AUTHKEY": AUTHKEY,
            "DISTQ_STORE": self.store,
            "DISTQ_BIND": f"127.0.0.1:{port}",
            "DISTQ_HTTP_ADDRESS": f"127.0.0.1:{http_port}",
            "DISTQ_LEADER_LEASE_S": f"{LEASE_S:g}s",
        }
        child = self.stack.enter_context(process("-m", "distq", "master", **environ))
        return Node(child, http_port, port)

    def restart_ended(self) -> None:
        """Start the masters again that have ended."""
        for number, node in enumerate(self.nodes):
            if node.child.poll() is not None:
                self.nodes[number] = self.start(number)

    def leader(self) -> Node:
        """Wait until one master leads and all others follow it completely, and return the leader."""
        found: list[Node] = []

        def ready() -> bool:
            found[:] = [node for node in self.nodes if node.leads]
            others = [node for node in self.nodes if node not in found]
            return (
                len(found) == 1
                and found[0].has(f"distq_standby_masters {len(others)}")
                and all(follows(node) for node in others)
            )

        wait_until(ready)
        return found[0]


def follows(node: Node) -> bool:
    """Whether a standby has a copy of the leader's tasks that is newer than a second."""
    for line in node.page("/metrics").splitlines():
        if line.startswith("distq_standby_lag_seconds "):
            return float(line.split()[1]) < 1
    return False


def wait_until(fact: Callable[[], object]) -> None:
    """Wait until `fact()` is true. Raises TimeoutError after START_S."""
    end = time.perf_counter() + START_S
    while not fact():
        if time.perf_counter() > end:
            raise TimeoutError(f"not within {START_S:g} s: {fact}")
        time.sleep(LOOK_S)


def wait_for_end(child: subprocess.Popen[bytes]) -> None:
    """Wait until a process has ended; `Popen.wait` with a timeout notices it up to 50 ms later."""
    descriptor = os.pidfd_open(child.pid)
    try:
        ended, _, _ = select.select([descriptor], [], [], START_S)
        assert ended, f"process {child.pid} has not ended within {START_S:g} s"
    finally:
        os.close(descriptor)
    child.wait()


class Load:
    """A client that submits one task after another, and notes when each was accepted."""

    def __init__(self, addresses: str) -> None:
        self.client = Client(addresses, AUTHKEY)
        self.accepted_at: list[float] = []
        """When each submit was accepted, in seconds of `time.perf_counter`."""
        self.futures: list[object] = []
        self.errors = 0
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        while not self._is_over.is_set():
            future = self.client.submit(square, len(self.futures))
            if not self.client.flush(60):
                self.errors += 1
            self.futures.append(future)
            self.accepted_at.append(time.perf_counter())

    def gap_after(self, instant: float) -> float:
        """Return the seconds from an instant to the next submit that was sent and accepted after it."""
        count = len(self.accepted_at)
        wait_until(lambda: len(self.accepted_at) > count + 1)
        return next(at for at in self.accepted_at if at > instant) - instant

    def longest_gap_after(self, instant: float) -> float:
        """Return the longest time between two accepted submits after an instant."""
        times = [at for at in self.accepted_at if at >= instant]
        return max(b - a for a, b in zip([instant, *times], times, strict=False))

    def end(self) -> None:
        """Stop, and close the client without waiting for results."""
        self._is_over.set()
        self._thread.join()
        self.client.abandon()


@contextmanager
def load(group: Group) -> Iterator[Load]:
    """Run a client under which masters are stopped."""
    running = Load(group.addresses)
    try:
        wait_until(lambda: len(running.accepted_at) >= WARM_UP)
        yield running
    finally:
        running.end()


def stops(group: Group, number: signal.Signals, times: int) -> tuple[list[float], int]:
    """Send leaders a signal under load; return the pauses of the client in seconds, and its errors."""
    pauses = []
    with load(group) as running:
        for _ in range(times):
            leader = group.leader()
            sent_at = time.perf_counter()
            leader.child.send_signal(number)
            wait_for_end(leader.child)
            ended_at = time.perf_counter()
            running.gap_after(ended_at)
            pauses.append(max(running.longest_gap_after(sent_at), ended_at - sent_at))
            group.restart_ended()
        assert len(running.futures) == len(running.accepted_at)
        stored = stored_tasks(group)
        assert stored >= len(running.accepted_at), f"{len(running.accepted_at)} were accepted, {stored} are stored"
        return pauses, running.errors


def stored_tasks(group: Group) -> int:
    """Return the number of tasks that the leader has."""
    leader = group.leader()
    connection = client_of(Running(("127.0.0.1", leader.port), None, leader.child.pid))
    overview = connection.call("broker", "stats", ("overview",), timeout_s=20)
    connection.close()
    assert isinstance(overview, dict)
    return sum(overview["tasks"].values())


def row(name: str, limit: float, found: float, *, least: bool = False) -> Row:
    """Return a row of the table: what is required, what was measured, and whether it is met."""
    met = found >= limit if least else found <= limit
    required, shown = (f"{limit:,.0f}", f"{found:,.0f}") if least else (time_text(limit), time_text(found))
    return (name, required, shown, "met" if met else "NOT MET")


def takeover(server: PostgresServer) -> list[Row]:
    """Measure `kill -9` of the leader."""
    with ExitStack() as stack:
        pauses, _ = stops(Group(stack, server.url + "&schema=takeover"), signal.SIGKILL, TAKEOVERS)
    return [
        row("kill -9 of the leader, until a submit is accepted: median", 0.6, statistics.median(pauses)),
        row(f"the same: longest of {TAKEOVERS}", 1.5, max(pauses)),
    ]


def handover(server: PostgresServer) -> list[Row]:
    """Measure SIGTERM of the leader."""
    with ExitStack() as stack:
        pauses, errors = stops(Group(stack, server.url + "&schema=handover"), signal.SIGTERM, HANDOVERS)
    return [
        row("SIGTERM of the leader, until it has ended and a submit is accepted", 0.2, statistics.median(pauses)),
        row(f"the same: longest of {HANDOVERS}", 0.2, max(pauses)),
        ("errors at the client meanwhile", "0", str(errors), "met" if not errors else "NOT MET"),
    ]


def frozen(server: PostgresServer) -> list[Row]:
    """Measure SIGSTOP of the leader; after SIGCONT it must store nothing and stand by."""
    with ExitStack() as stack:
        group = Group(stack, server.url + "&schema=frozen")
        leader = group.leader()
        (other,) = (node for node in group.nodes if node is not leader)
        stopped_at = time.perf_counter()
        leader.child.send_signal(signal.SIGSTOP)
        wait_until(lambda: other.leads)
        replaced_s = time.perf_counter() - stopped_at
        time.sleep(max(FROZEN_S - replaced_s, 0))
        leader.child.send_signal(signal.SIGCONT)
        assert group.leader() is other
    return [row(f"SIGSTOP of the leader for {FROZEN_S:g} s: another one leads", LEASE_S + 0.5, replaced_s)]


def million(server: PostgresServer) -> list[Row]:
    """Measure `kill -9` of the leader with a million tasks that wait."""
    with ExitStack() as stack:
        group = Group(stack, server.url + "&schema=million")
        leader = group.leader()
        connection = client_of(Running(("127.0.0.1", leader.port), None, leader.child.pid))
        connection.call("broker", "submit", (1, [ENVELOPE], [(0, 1)], [BODY], 0.0), timeout_s=60)
        for number in range(2, 2 + QUEUED // BATCH):
            connection.call("broker", "submit", (number, [ENVELOPE], [(0, BATCH)], [BODY] * BATCH, 0.0), timeout_s=60)
        connection.close()
        with load(group) as running:
            assert group.leader() is leader
            killed_at = time.perf_counter()
            leader.child.kill()
            pause_s = running.gap_after(killed_at)
            pause_s = max(pause_s, running.longest_gap_after(killed_at))
        (other,) = (node for node in group.nodes if node is not leader)
        wait_until(lambda: other.leads)
    return [row(f"kill -9 of the leader with {QUEUED:,} tasks", 1.0, pause_s)]


def failover(server: PostgresServer) -> list[Row]:
    """Measure the time from the database's return until a submit is accepted, after a crash of it."""
    with ExitStack() as stack:
        group = Group(stack, server.url + "&schema=failover")
        group.leader()
        with load(group) as running:
            server.kill()
            server.start()
            back_at = time.perf_counter()
            pause_s = running.gap_after(back_at)
            stored = stored_tasks(group)
            assert stored >= len(running.accepted_at) - 1
    return [row("service after the database is back", 1.0, pause_s)]


def throughput(server: PostgresServer) -> list[Row]:
    """Measure tasks per second and a round trip, with SQLite and with PostgreSQL."""
    with tempfile.TemporaryDirectory(prefix="distq-bench-", dir=Path.cwd()) as name:
        rate, trip_s = measure(f"sqlite:///{Path(name) / 'queue.db'}")
    database_rate, database_trip_s = measure(server.url + "&schema=throughput")
    return [
        ("tasks/s, SQLite", "-", f"{rate:,.0f}", "-"),
        row("tasks/s, PostgreSQL", POSTGRESQL_RATE_MIN * rate, database_rate, least=True),
        ("round trip of one task, p50, SQLite", "-", time_text(trip_s), "-"),
        row("round trip of one task, p50, PostgreSQL", POSTGRESQL_TRIP_MAX * trip_s, database_trip_s),
    ]


def synchronous(server: PostgresServer) -> list[Row]:
    """Measure throughput with a synchronous standby, and SQLite just before; then fail over to the standby."""
    with tempfile.TemporaryDirectory(prefix="distq-bench-", dir=Path.cwd()) as name:
        rate, _ = measure(f"sqlite:///{Path(name) / 'queue.db'}")
    with standby_of(server, *SERVER) as standby:
        url = server.url_with(standby) + "schema=synchronous"
        database_rate, database_trip_s = measure(url)
        with ExitStack() as stack:
            group = Group(stack, url + "&cluster=failover")
            group.leader()
            with load(group) as running:
                server.kill()
                standby.promote()
                back_at = time.perf_counter()
                pause_s = running.gap_after(back_at)
                lost = max(len(running.accepted_at) - stored_tasks(group), 0)
    server.start(*SERVER)
    server.sql("ALTER SYSTEM RESET synchronous_standby_names")
    server.sql("SELECT pg_reload_conf()")
    return [
        row("tasks/s, PostgreSQL with a synchronous standby", SYNCHRONOUS_RATE_MIN * rate, database_rate, least=True),
        ("the same, as a part of SQLite's just before", f"{SYNCHRONOUS_RATE_MIN}", f"{database_rate / rate:.2f}", ""),
        ("round trip of one task, p50, with a synchronous standby", "-", time_text(database_trip_s), "-"),
        row("service after the synchronous standby was promoted", 1.0, pause_s),
        ("accepted tasks that were lost", "0", str(lost), "NOT MET" if lost else "met"),
    ]


MEASURES: Final[dict[str, Callable[[PostgresServer], list[Row]]]] = {
    "throughput": throughput,
    "takeover": takeover,
    "handover": handover,
    "failover": failover,
    "synchronous": synchronous,
    "million": million,
    "frozen": frozen,
}


def main(names: Sequence[str]) -> None:
    """Measure, and print the figures with their limits."""
    rows: list[Row] = []
    with short_folder() as folder, server_in(folder, *SERVER) as server:
        for name in names or MEASURES:
            rows += MEASURES[name](server)
            print(f"measured: {name}", file=sys.stderr)
    show("Several masters on PostgreSQL", rows, ("", "required", "distq", ""))


if __name__ == "__main__":
    main(sys.argv[1:])
