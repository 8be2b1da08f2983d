"""Rows of every kind in a store, and the reading of all of them, for the tests of `distq store copy`."""

import asyncio

from tests.storage.contract import Rows, follow

from distq.core.ports import Store
from distq.storage import open_store

Everything = dict[int, tuple[bytes, bytes | None]]
"""Heads and bodies by key."""


async def contents(store: Store) -> Everything:
    """Lead the store and return all of its rows."""
    heads: Rows = await follow(store)
    keys = sorted(heads)
    return {key: (heads[key], body) for key, body in zip(keys, await store.read(keys), strict=True)}


def rows_of(url: str) -> tuple[Everything, int]:
    """Return all rows of a store that no process has open, and the epoch in which they were read."""

    async def read() -> tuple[Everything, int]:
        store = open_store(url, 0.0)
        try:
            return await contents(store), store.epoch
        finally:
            await store.close()

    return asyncio.run(read())


def fill(url: str, rows: Everything, epochs: int = 1) -> None:
    """Lead a store `epochs` times, and commit the rows in the last epoch."""

    async def write() -> None:
        for epoch in range(epochs):
            store = open_store(url, 0.0)
            try:
                await follow(store)
                if epoch == epochs - 1:
                    await store.commit({key: (head, body or b"") for key, (head, body) in rows.items()})
            finally:
                await store.close()

    asyncio.run(write())
