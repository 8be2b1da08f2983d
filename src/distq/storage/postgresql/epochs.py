"""What `distq store copy` needs of a database before it leads there."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from distq.core.ports import StoreError
from distq.storage.postgresql import tables
from distq.storage.postgresql.arrays import integer
from distq.storage.postgresql.errors import ServerError, explain
from distq.storage.postgresql.leadership import Leadership
from distq.storage.postgresql.session import Access, DatabaseSession
from distq.storage.postgresql.target import parse_target

RAISE: Final = "UPDATE {schema}.distq_clusters SET epoch = greatest(epoch, $1::bigint) WHERE id = {cluster}"
LOCK_WAIT: Final = "5s"
"""How long the statement waits for the end of a commit of an earlier leader."""
POLL_S: Final = 0.1
"""Seconds between two attempts to take the leader's lock."""


def has_tables(url: str, secrets: Mapping[str, str], password_file: str | None) -> bool:
    """Whether the schema has tables of distq; parameters as those of `open_store`. Raises StoreError."""
    access = _access(url, secrets, password_file)
    try:
        session = DatabaseSession(access, "lock")
        try:
            return bool(tables.version_of(session, access.target))
        finally:
            session.close()
    except ServerError as exc:
        raise StoreError(explain(access.target.shown, exc)) from None


def raise_epoch(url: str, secrets: Mapping[str, str], password_file: str | None, epoch: int, wait_s: float) -> None:
    """Make the next epoch of the cluster larger than `epoch`: the ids of new tasks begin with their epoch.

    Raises:
        StoreError: a master leads for longer than `wait_s`, or the database cannot be used.
    """
    leadership = Leadership(_access(url, secrets, password_file))
    shown = leadership.access.target.shown
    give_up_at = time.perf_counter() + wait_s
    try:
        while not leadership.take():
            if time.perf_counter() > give_up_at:
                assert leadership.looked is not None
                raise StoreError(
                    f"{shown} cannot be used: the master at {leadership.looked.leader} leads this cluster. Stop all "
                    "masters on it first, and repeat the command."
                )
            time.sleep(POLL_S)
        assert leadership.statements is not None
        session = DatabaseSession(leadership.access, "lock")
        try:
            session.run(f"SET lock_timeout = '{LOCK_WAIT}'")
            session.run(leadership.statements.text(RAISE), (integer(epoch),))
        finally:
            session.close()
    except ServerError as exc:
        raise StoreError(explain(shown, exc)) from None
    finally:
        leadership.close()


def _access(url: str, secrets: Mapping[str, str], password_file: str | None) -> Access:
    return Access(parse_target(url), secrets, Path(password_file) if password_file else None)
