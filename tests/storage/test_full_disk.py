"""A full volume: the caller receives the reason, no row is lost, and the store continues when there is room again."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.storage.contract import contents, follow
from tests.storage.loop import on_loop
from tests.volume import small_volume

from distq.core.ports import KEEP, CommitRefused, StoreError
from distq.storage.reserve import MIB, SpaceLimits
from distq.storage.sqlite import SqliteStore

pytestmark = pytest.mark.root

ROOM = SpaceLimits(free_bytes_min=2 * MIB, reserve_bytes=2 * MIB)


@pytest.fixture(name="volume")
def make_volume(tmp_path: Path) -> Iterator[Path]:
    """Make a volume of 12 MiB in memory."""
    with small_volume(tmp_path, 12) as volume:
        yield volume


def fill(volume: Path, left_bytes: int) -> Path:
    """Write another program's file that leaves `left_bytes` free."""
    path = volume / "of-another-program"
    room = os.statvfs(volume)
    with path.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, room.f_bavail * room.f_frsize - left_bytes)
    return path


async def opened(volume: Path, room: SpaceLimits = ROOM) -> tuple[SqliteStore, dict[int, bytes]]:
    """Return a store that leads, and its heads."""
    store = SqliteStore(volume / "queue.db", space_limits=room)
    return store, await follow(store)


async def commit_for_ever(store: SqliteStore) -> None:
    """Commit one body of 100 kB after another, from key 0 on."""
    for key in range(1000):
        await store.commit({key: (b"h", b"b" * 100_000)})


def remount_read_only(volume: Path) -> None:
    """Remount the volume read-only, as a kernel does after an error."""
    subprocess.run(["mount", "-o", "remount,ro", volume], check=True)


@on_loop
async def test_p7_new_keys_are_refused_while_there_is_still_room_and_settling_goes_on(volume: Path) -> None:
    """Until the volume is full the store refuses puts of new keys, with a sentence, and stores all other changes."""
    store, _ = await opened(volume)
    with pytest.raises(CommitRefused, match=r"queue\.db has [\d.]+ MiB left, and 2 MiB are kept .*make room"):
        await commit_for_ever(store)
    stored = len(await store.read(range(1000))) - (await store.read(range(1000))).count(None)
    assert stored > 20
    assert "make room" in store.refusing
    other = fill(volume, 0)
    for key in range(stored):
        await store.commit({key: (b"settled", b"result" * 100)})
    for key in range(10):
        await store.commit({key: (b"amended", KEEP)})
    await store.commit(dict.fromkeys(range(10, stored)))
    with pytest.raises(CommitRefused):
        await store.commit({-1: (b"h", b"new")})
    assert not (await store.health())["broken"]
    other.unlink()
    assert (await store.health())["refusing"] == ""
    await store.commit({-1: (b"h", b"new")})
    assert (store.refusing, (await store.health())["reserve_held"]) == ("", True)
    await store.close()
    store, heads = await opened(volume)
    assert heads == {-1: b"h", **dict.fromkeys(range(10), b"amended")}
    assert await contents(store, (-1, 9)) == {-1: b"new", 9: b"result" * 100}
    await store.close()


@on_loop
async def test_a_full_volume_is_opened_and_drained(volume: Path) -> None:
    """SQLite alone can neither open nor delete without free bytes: the store removes the reserve file for it."""
    store, _ = await opened(volume)
    await store.commit(dict.fromkeys(range(20), (b"h", b"b" * 100000)))
    await store.close()
    fill(volume, 0)
    store, heads = await opened(volume)
    assert len(heads) == 20
    await store.commit(dict.fromkeys(range(20)))
    assert await store.read([1]) == [None]
    await store.close()


@on_loop
async def test_a_volume_that_ends_in_the_middle_of_a_batch_stores_none_of_it(volume: Path) -> None:
    """If the early refusal did not prevent it, SQLite's error becomes a refusal, and other rows stay as they are."""
    store, _ = await opened(volume, SpaceLimits(free_bytes_min=-(1 << 30), reserve_bytes=4096))
    await store.commit({1: (b"h", b"one")})
    with pytest.raises(CommitRefused, match="is full: make room"):
        await store.commit(dict.fromkeys(range(2, 200), (b"h", b"b" * 100000)))
    assert await contents(store, (1, 2, 199)) == {1: b"one", 2: None, 199: None}
    await store.commit({1: None, 2: (b"h", b"two")})
    await store.close()
    store, heads = await opened(volume)
    assert heads == {2: b"h"}
    await store.close()


@on_loop
async def test_a_read_only_volume_is_named(volume: Path) -> None:
    """The volume becomes read-only while no store runs: `follow` says what the operator must do."""
    store, _ = await opened(volume)
    await store.close()
    remount_read_only(volume)
    store = SqliteStore(volume / "queue.db", space_limits=ROOM)
    with pytest.raises(StoreError, match=r"queue\.db cannot be written .* mount it read-write"):
        await follow(store)
    await store.close()
