"""Stores of one test, closed in the end, and other sessions that hold a lock against them."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import psycopg
from tests.storage.contract import follow
from tests.storage.postgresql.server import PostgresServer
from tests.waiting import SOON_S

from distq.storage import open_store
from distq.storage.postgresql.store import PostgresStore


@asynccontextmanager
async def opened(
    url: str, *, lead: bool = True, secrets: Mapping[str, str] | None = None, password_file: Path | None = None
) -> AsyncIterator[PostgresStore]:
    """A store at the URL, which leads unless `lead` is False."""
    store = open_store(url, 0.0, secrets or {}, str(password_file) if password_file else None)
    assert isinstance(store, PostgresStore)
    try:
        if lead:
            await follow(store)
        yield store
    finally:
        await store.close()


def stop_renewing(store: PostgresStore) -> None:
    """Let a leader not notice the end of its session, as one that is separated from the database."""
    if store._renewing is not None:
        store._renewing.cancel()


@asynccontextmanager
async def row_locked(server: PostgresServer, schema: str) -> AsyncIterator[None]:
    """Another session holds the cluster's row, so that each commit waits in its statement."""
    connection = psycopg.connect(server.conninfo)
    try:
        connection.execute(f"SELECT FROM {schema}.distq_clusters FOR UPDATE".encode())
        yield
    finally:
        connection.close()


async def becomes(fact: Callable[[], object]) -> None:
    """Wait until `fact()` is true, while the event loop goes on."""
    async with asyncio.timeout(SOON_S):
        while not await asyncio.to_thread(fact):  # noqa: ASYNC110 - no event announces what another session does
            await asyncio.sleep(0.01)


def waits_for(server: PostgresServer, event: str) -> Callable[[], bool]:
    """Return a function that tells whether a commit session waits for such an event, as the server names it."""
    sql = "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'distq commit %%' AND wait_event = %s"
    return lambda: server.sql(sql, event) == [(1,)]
