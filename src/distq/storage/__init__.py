"""The stores of heads and bodies, which implement the `Store` port; DISTQ_STORE names the one that a master opens."""

from pathlib import Path

from distq.core.ports import Store
from distq.storage.memory import EPOCH_MAX, MemoryStore

__all__ = ["MEMORY", "open_store"]

MEMORY = "memory:"
"""The store that loses its rows when the process ends."""
STARTS_A_SECOND = 20
"""Epochs per second for memory stores. A master starts less often, so that each start has a new epoch, which shows
clients that the earlier tasks are lost."""
SQLITE = "sqlite:///"
"""Prefix of the path of the store that keeps all rows in one file."""


def open_store(url: str, now: float) -> Store:
    """Return the store that `url` names; `now` (seconds since 1970) makes a memory store's task ids new at each start.

    Raises:
        ValueError: `url` names no store that distq has.
    """
    if url.startswith(SQLITE):
        from distq.storage.sqlite import SqliteStore  # noqa: PLC0415 - a master without a file does not import it

        return SqliteStore(Path(url.removeprefix(SQLITE)))
    if url == MEMORY:
        return MemoryStore(int(now * STARTS_A_SECOND) % EPOCH_MAX + 1)
    raise ValueError(f"there is no store {url!r}")
