"""The stores of heads and bodies, which implement the `Store` port; DISTQ_STORE names the one that a master opens."""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final

from distq.core.ports import Store
from distq.storage.error_messages import StoreUnusable
from distq.storage.memory import EPOCH_MAX, MemoryStore

__all__ = ["MEMORY", "open_store"]

MEMORY = "memory:"
"""The store that loses its rows when the process ends."""
STARTS_A_SECOND = 20
"""Epochs per second for memory stores. A master starts less often, so that each start has a new epoch, which shows
clients that the earlier tasks are lost."""
SQLITE = "sqlite:///"
"""Prefix of the path of the store that keeps all rows in one file."""
POSTGRESQL = ("postgresql://", "postgres://")
"""Prefixes of the URL of a PostgreSQL database."""
NO_SECRETS: Final[Mapping[str, str]] = MappingProxyType({})


def open_store(
    url: str, now: float, secrets: Mapping[str, str] = NO_SECRETS, password_file: str | None = None
) -> Store:
    """Return the store that `url` names.

    Args:
        url: the setting DISTQ_STORE without its secrets.
        now: seconds since 1970, which make a memory store's task ids new at each start.
        secrets: the parameters of a database's URL that must not be shown, such as its password.
        password_file: the file of the database's password, unless `secrets` contains one.

    Raises:
        ValueError: `url` names no store that distq has.
        StoreUnusable: the URL of a database is wrong, or its driver is not installed.
    """
    if url.startswith(SQLITE):
        from distq.storage.sqlite import SqliteStore  # noqa: PLC0415 - a master without a file does not import it

        return SqliteStore(Path(url.removeprefix(SQLITE)))
    if url.startswith(POSTGRESQL):
        try:
            from distq.storage.postgresql.store import PostgresStore  # noqa: PLC0415 - as above
        except ImportError as exc:
            raise StoreUnusable(
                f"DISTQ_STORE is a PostgreSQL database, and psycopg cannot be imported: {exc}. Install it with "
                "`pip install 'distq[postgresql]'`."
            ) from None
        return PostgresStore(url, secrets, Path(password_file) if password_file else None)
    if url == MEMORY:
        return MemoryStore(int(now * STARTS_A_SECOND) % EPOCH_MAX + 1)
    raise ValueError(f"there is no store {url!r}")
