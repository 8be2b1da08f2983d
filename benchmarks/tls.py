"""Measures tasks from client to worker and back with TLS, and without it in the same run, in turns."""

from __future__ import annotations

import contextlib
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from benchmarks.client_figures import Figures, figures_of
from benchmarks.measure import show, time_text
from benchmarks.processes import AUTHKEY, master, process
from distq import Client
from distq.settings import Role, load

TASKS = 50_000
ROUNDS = 3
"""Pairs of rounds with new processes, each without and with TLS."""
LARGE_TASKS = 100


@contextlib.contextmanager
def cluster(tls: dict[str, str]) -> Iterator[Client]:
    """Yield a client of a master with a worker; all use the same settings of TLS."""
    with master(DISTQ_HTTP_TLS="0", **tls) as running:
        peer = {"DISTQ_ADDRESS": f"127.0.0.1:{running.address[1]}", "DISTQ_AUTHKEY": AUTHKEY, **tls}
        with (
            process("-m", "distq", "worker", "--concurrency", "2", "benchmarks.tasks", **peer),
            Client(settings=load(peer, Role.CLIENT).settings) as client,
        ):
            yield client


def figures(tls: dict[str, str]) -> Figures:
    """Return the figures of one cluster."""
    with cluster(tls) as client:
        return figures_of(client, TASKS, LARGE_TASKS)


def main() -> None:
    """Measure both, and print the medians."""
    with tempfile.TemporaryDirectory() as folder:
        init = [sys.executable, "-m", "distq", "tls", "init", str(Path(folder) / "tls")]
        made = subprocess.run(init, check=True, capture_output=True, text=True)
        tls = dict(line.split("=", 1) for line in made.stdout.splitlines() if line.startswith("DISTQ_"))
        rounds = []
        for _ in range(ROUNDS):
            rounds.append((figures({}), figures(tls)))
            rounds.append((figures(tls), figures({}))[::-1])  # in turns: other programs disturb neither more often
    plain, sealed = (tuple(map(statistics.median, zip(*column, strict=True))) for column in zip(*rounds, strict=True))
    rows = [
        ("tasks/s, submitted in a loop", f"{plain[0]:,.0f}", f"{sealed[0]:,.0f}", f"{sealed[0] / plain[0]:.2f} x"),
        ("round trip of one task, p50", time_text(plain[1]), time_text(sealed[1]), f"{sealed[1] / plain[1]:.2f} x"),
        ("MB/s, tasks of 1 MiB", f"{plain[2]:,.0f}", f"{sealed[2]:,.0f}", f"{sealed[2] / plain[2]:.2f} x"),
    ]
    show(f"Two executors, medians of {2 * ROUNDS} rounds", rows, ("", "without TLS", "TLS", "ratio"))


if __name__ == "__main__":
    main()
