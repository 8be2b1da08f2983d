"""Items that are held: a test sees who runs one, and says when it may end."""

import math
import time
from pathlib import Path

from tests.waiting import eventually

import distq


def running(folder: Path, count: int = 1) -> list[int]:
    """Wait until so many processes hold an item; their ids."""
    eventually(lambda: len(holders(folder)) >= count, f"{count} tasks that run")
    return holders(folder)


def holders(folder: Path) -> list[int]:
    """The processes that have begun an item in this folder."""
    return [int(file.name) for file in folder.iterdir() if file.name.isdigit()]


def go(folder: Path) -> None:
    """Let everything that is held end."""
    (folder / "go").touch()


def store_the_leases(client: distq.Client) -> None:
    """Leases older than a second ride in the next commit: commit until one surely has."""
    until = time.perf_counter() + 1.5

    def late() -> bool:
        client.submit(math.sqrt, 1)
        return client.flush(20) and time.perf_counter() > until

    eventually(late, "a commit after more than a second")
