"""Measures a whole cluster with keys of roles, with signatures and with encryption, beside a plain one in the same run.

python -m benchmarks.protected
"""

from __future__ import annotations

import contextlib
import statistics
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from benchmarks.client_figures import Figures, figures_of
from benchmarks.measure import show, time_text
from benchmarks.processes import AUTHKEY, master, process
from distq import Client
from distq.settings import Role, load
from distq.settings.authkey import new_authkey

TASKS = 20_000
ROUNDS = 3
"""Rounds in which each way has a cluster of its own, one after the other."""
LARGE_TASKS = 50
SIGNED, ENCRYPTED = {"DISTQ_SIGNING_KEY": new_authkey()}, {"DISTQ_ENCRYPTION_KEY": new_authkey()}
WAYS: Mapping[str, dict[str, str]] = {
    "plain": {},
    "roles, for some queues": {"DISTQ_QUEUES": "default"},
    "signed": SIGNED,
    "encrypted": ENCRYPTED,
    "signed, encrypted": SIGNED | ENCRYPTED,
}


@contextlib.contextmanager
def cluster(payload_keys: dict[str, str], folder: Path) -> Iterator[Client]:
    """Yield a client of a master with two executors; with DISTQ_QUEUES each peer has a key for some queues."""
    web, team, of_master = AUTHKEY, AUTHKEY, {}
    if "DISTQ_QUEUES" in payload_keys:
        web, team = new_authkey(), new_authkey()
        (folder / "keys").write_text(f"web submit {web} default,d*\nteam work {team} default,d*\n")
        of_master = {"DISTQ_KEYS_PATH": str(folder / "keys")}
    with master(**of_master) as running:
        peer = {"DISTQ_ADDRESS": f"127.0.0.1:{running.address[1]}", **payload_keys}
        worker = ("-m", "distq", "worker", "--concurrency", "2", "benchmarks.tasks")
        with (
            process(*worker, **peer, DISTQ_AUTHKEY=team),
            Client(settings=load({**peer, "DISTQ_AUTHKEY": web}, Role.CLIENT).settings) as client,
        ):
            yield client


def figures(payload_keys: dict[str, str], folder: Path) -> Figures:
    """Return the figures of one cluster."""
    with cluster(payload_keys, folder) as client:
        return figures_of(client, TASKS, LARGE_TASKS)


def main() -> None:
    """Measure each way, and print the medians."""
    found: dict[str, list[Figures]] = {name: [] for name in WAYS}
    with tempfile.TemporaryDirectory() as folder:
        for number in range(ROUNDS):
            # In turns: other programs on the machine disturb no way more often than the others.
            for name in list(WAYS)[:: -1 if number % 2 else 1]:
                found[name].append(figures(WAYS[name], Path(folder)))
    medians = {name: tuple(map(statistics.median, zip(*rounds, strict=True))) for name, rounds in found.items()}
    plain = medians["plain"]
    rows = [
        (
            name,
            f"{rate:,.0f} ({rate / plain[0]:.2f} x)",
            f"{time_text(trip_s)} ({trip_s / plain[1]:.2f} x)",
            f"{megabytes:,.0f} ({megabytes / plain[2]:.2f} x)",
        )
        for name, (rate, trip_s, megabytes) in medians.items()
    ]
    heads = ("", "tasks/s, in a loop", "round trip, p50", "MB/s, tasks of 1 MiB")
    show(f"Two executors, medians of {ROUNDS} rounds", rows, heads)


if __name__ == "__main__":
    main()
