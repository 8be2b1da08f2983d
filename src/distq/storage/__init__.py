"""The stores of heads and bodies: adapters of the `Store` port, chosen by DISTQ_STORE."""

from pathlib import Path

from distq.core.ports import Store
from distq.storage.memory import EPOCH_MAX, MemoryStore

__all__ = ["MEMORY", "open_store"]

MEMORY = "memory:"
"""The store that loses its rows when the process ends."""
STARTS_A_SECOND = 20
"""A master starts less often: each start has its own epoch, which shows clients that the earlier tasks are lost."""
SQLITE = "sqlite:///"
"""Prefix of the path of the store that keeps all rows in one file."""


def open_store(url: str, now: float) -> Store:
    """The store that `url` names; `now` (seconds since 1970) makes a memory store's task ids new at each start.

    Raises:
        ValueError: nothing is known by that name.
    """
    if url.startswith(SQLITE):
        from distq.storage.sqlite import SqliteStore  # noqa: PLC0415 - a master without a file does not import it

        return SqliteStore(Path(url.removeprefix(SQLITE)))
    if url == MEMORY:
        return MemoryStore(int(now * STARTS_A_SECOND) % EPOCH_MAX + 1)
    raise ValueError(f"there is no store {url!r}")
