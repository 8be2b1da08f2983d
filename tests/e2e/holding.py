"""Helpers for held items: a test finds the processes that hold items, and lets the items end."""

import math
import time
from pathlib import Path

from tests.waiting import eventually

import distq


def running(folder: Path, count: int = 1) -> list[int]:
    """Wait until `count` processes hold an item, and return their ids."""
    eventually(lambda: len(holders(folder)) >= count, f"{count} tasks that run")
    return holders(folder)


def holders(folder: Path) -> list[int]:
    """Return the processes that have begun an item in this folder."""
    return [int(file.name) for file in folder.iterdir() if file.name.isdigit()]


def go(folder: Path) -> None:
    """Let every held item end."""
    (folder / "go").touch()


def store_the_leases(client: distq.Client) -> None:
    """Commit until the master has stored its leases: it stores a lease older than a second in the next commit."""
    until = time.perf_counter() + 1.5

    def late() -> bool:
        client.submit(math.sqrt, 1)
        return client.flush(20) and time.perf_counter() > until

    eventually(late, "a commit after more than a second")
