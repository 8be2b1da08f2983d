"""Measures a master with many tasks and workers: memory and disk space of each, and the time of a restart."""

from __future__ import annotations

import contextlib
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from benchmarks.measure import show, time_text
from benchmarks.processes import AUTHKEY, Running, master, process, wait_until_listening
from distq.core.ledger import Ledger
from distq.core.option_values import TASK
from distq.core.registry import Defaults
from distq.core.task import Holder
from distq.net.dial import Connection, dial

SIZES = (10_000, 100_000, 1_000_000, 10_000_000)
QUEUED = 1_000_000
WORKERS = 1_000
FIRST_WORKERS = 100
BATCH = 1_000
PROBES = 200
BODY = b"x" * 40
ENVELOPE = ("default", "benchmarks.tasks:square", None, None, None, None, None)


def costs(size: int) -> tuple[float, float]:
    """Return the seconds of a submit and of a lease of one task, in batches, while `size` tasks wait."""
    ledger = Ledger(Defaults(capacity=2 * size + BATCH * PROBES), lambda: 0.5, 1 << 40)
    envelope = ledger.registry.envelope("default", "f", TASK)
    queue = ledger.registry.queue("default")

    def submit() -> None:
        ledger.submit(envelope, [BODY] * BATCH, None, 1.0)
        ledger.batch(1.0)
        ledger.apply(1.0)

    while len(ledger.state.tasks) < size:
        submit()
    submits, leases = [], []
    for probe in range(PROBES):
        started_at = time.perf_counter()
        submit()
        between = time.perf_counter()
        ledger.leasing.lease(Holder(str(probe)), (queue,), lambda _: True, BATCH, 2.0)
        submits.append(between - started_at)
        leases.append(time.perf_counter() - between)
    middle = PROBES // 2
    return sorted(submits)[middle] / BATCH, sorted(leases)[middle] / BATCH


def rss_bytes(pid: int) -> int:
    """Return the resident memory of a process."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise ValueError("no VmRSS")


def client_of(running: Running) -> Connection:
    """Return a connection with the client's handshake; a million futures of a real client would measure the client."""
    connection = dial([running.address], AUTHKEY.encode(), timeout_s=20)
    info = {"role": "client", "protocol": (1, 1), "version": "bench", "session": "many"}
    connection.call("broker", "hello", (info,), timeout_s=20)
    return connection


def connected() -> float:
    """Return the memory that the master needs for each connected worker with one executor.

    The first workers do not count: while they connect, the master still imports its HTTP side.
    """
    with master() as running, contextlib.ExitStack() as stack:
        assert running.http is not None
        wait_until_listening(running.http)

        def connect(numbers: range) -> int:
            """Connect workers, and return the master's memory afterwards, in bytes."""
            for number in numbers:
                for role, more in (("worker", {"slots": 1}), ("executor", {"index": 1, "holds": []})):
                    connection = dial([running.address], AUTHKEY.encode(), timeout_s=20)
                    stack.callback(connection.close)
                    info = {"role": role, "protocol": (1, 1), "version": "bench", "session": f"w{number}", **more}
                    connection.call("broker", "hello", (info,), timeout_s=20)
            return rss_bytes(running.pid)

        before = connect(range(FIRST_WORKERS))
        return (connect(range(FIRST_WORKERS, FIRST_WORKERS + WORKERS)) - before) / WORKERS


class Queued(NamedTuple):
    """The cost of a million waiting tasks."""

    memory_bytes: float
    """Memory of one task."""
    disk_bytes: float
    """Disk space of one task."""
    ready_s: float
    """Seconds until a restarted master listens."""
    ready: int
    """Number of ready tasks after the restart."""


def queued(folder: Path) -> Queued:
    """Submit a million tasks that wait, and restart the master."""
    store = f"sqlite:///{folder / 'queue.db'}"
    with master(DISTQ_STORE=store) as running:
        pid = running.pid
        connection = client_of(running)
        connection.call("broker", "submit", (1, [ENVELOPE], [(0, 1)], [BODY], 0.0), timeout_s=60)
        before = rss_bytes(pid)
        for number in range(2, 2 + QUEUED // BATCH):
            connection.call("broker", "submit", (number, [ENVELOPE], [(0, BATCH)], [BODY] * BATCH, 0.0), timeout_s=60)
        a_task = (rss_bytes(pid) - before) / QUEUED
        connection.close()
    on_disk = sum(path.stat().st_size for path in folder.glob("queue.db*") if "reserve" not in path.name) / QUEUED
    environ = {
        "DISTQ_AUTHKEY": AUTHKEY,
        "DISTQ_BIND": f"{running.address[0]}:{running.address[1]}",
        "DISTQ_HTTP_ADDRESS": "off",
        "DISTQ_STORE": store,
    }
    started_at = time.perf_counter()
    with process("-m", "distq", "master", **environ):
        wait_until_listening(running.address)
        ready_s = time.perf_counter() - started_at
        connection = client_of(running)
        overview = connection.call("broker", "stats", ("overview",), timeout_s=20)
        assert isinstance(overview, dict)
        connection.close()
    return Queued(a_task, on_disk, ready_s, overview["tasks"]["ready"])


def main() -> None:
    """Measure, and print the figures."""
    rows = []
    for size in SIZES:
        submit_s, lease_s = costs(size)
        rows.append((f"{size:,} tasks in line", f"{submit_s * 1e6:.2f} µs", f"{lease_s * 1e6:.2f} µs", ""))
    show("What a task costs the ledger", rows, ("", "submit", "lease", ""))
    with tempfile.TemporaryDirectory(prefix="distq-bench-", dir=Path.cwd()) as name:
        found = queued(Path(name))
    assert found.ready == QUEUED + 1, found
    rows = [
        ("memory a queued task", "300 B", f"{found.memory_bytes:.0f} B", ""),
        ("disk a queued task", "400 B", f"{found.disk_bytes:.0f} B", ""),
        (f"a restarted master listens, with {QUEUED:,} tasks", "5 s", time_text(found.ready_s), ""),
        ("memory a worker with an executor", "", f"{connected() / 1000:.1f} kB", ""),
    ]
    show("A million tasks on disk", rows, ("", "required", "distq", ""))


if __name__ == "__main__":
    main()
