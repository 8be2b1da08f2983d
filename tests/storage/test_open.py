"""The store that a setting names."""

import asyncio
from pathlib import Path

import pytest

from distq.storage import open_store
from distq.storage.memory import MemoryStore
from distq.storage.sqlite import SqliteStore


async def _led(now: float) -> int:
    store = open_store("memory:", now)
    async for _ in store.follow("here"):
        pass
    return store.epoch


def test_masters_that_follow_each_other_within_a_second_differ() -> None:
    """Otherwise the clients of the first master would wait for tasks that the second has never had."""
    epochs = [asyncio.run(_led(1_763_000_000 + after_s)) for after_s in (0.0, 0.1, 0.5, 1.0)]
    assert len(set(epochs)) == len(epochs)


def test_a_store_goes_by_its_url(tmp_path: Path) -> None:
    """The setting is a path after sqlite:///, or memory: for the store in memory."""
    assert isinstance(open_store("memory:", 1.0), MemoryStore)
    assert isinstance(open_store(f"sqlite:///{tmp_path / 'queue.db'}", 1.0), SqliteStore)
    with pytest.raises(ValueError, match="redis:"):
        open_store("redis:", 1.0)
