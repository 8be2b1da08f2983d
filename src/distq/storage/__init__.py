"""The stores of heads and bodies, which implement the `Store` port; DISTQ_STORE names the one that a master opens."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from distq.core.ports import Store
from distq.storage.error_messages import StoreUnusable
from distq.storage.memory import EPOCH_MAX, MemoryStore

if TYPE_CHECKING:
    from distq.storage.postgresql.store import PostgresStore

__all__ = ["MEMORY", "is_shared", "open_shared_store", "open_store"]

MEMORY = "memory:"
"""The store that loses its rows when the process ends."""
STARTS_A_SECOND = 20
"""Epochs per second for memory stores. A master starts less often, so that each start has a new epoch, which shows
clients that the earlier tasks are lost."""
SQLITE = "sqlite:///"
"""Prefix of the path of the store that keeps all rows in one file."""
POSTGRESQL = ("postgresql://", "postgres://")
"""Prefixes of the URL of a PostgreSQL database."""
LEASE_S: Final = 5.0
"""The default of DISTQ_LEADER_LEASE_S."""
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
    if is_shared(url):
        return open_shared_store(url, secrets, password_file)
    if url == MEMORY:
        return MemoryStore(int(now * STARTS_A_SECOND) % EPOCH_MAX + 1)
    raise ValueError(f"there is no store {url!r}")


def is_shared(url: str) -> bool:
    """Whether several masters may use the store at `url`: one leads, and the others stand by."""
    return url.startswith(POSTGRESQL)


def open_shared_store(
    url: str, secrets: Mapping[str, str], password_file: str | None, lease_s: float = LEASE_S, led_epoch: int = 0
) -> PostgresStore:
    """Return the store that `url` names, for one of several masters; the other parameters are those of `open_store`.

    A leader that the store does not hear from keeps other masters from leading for `lease_s`. `led_epoch` is the last
    epoch in which this process has led, 0 if it has not.

    Raises:
        StoreUnusable: the URL is wrong, or the driver is not installed.
    """
    try:
        from distq.storage.postgresql.store import PostgresStore  # noqa: PLC0415 - only such a master imports it
    except ImportError as exc:
        raise StoreUnusable(
            f"DISTQ_STORE is a PostgreSQL database, and psycopg cannot be imported: {exc}. Install it with "
            "`pip install 'distq[postgresql]'`."
        ) from None
    return PostgresStore(url, secrets, Path(password_file) if password_file else None, lease_s, led_epoch)
