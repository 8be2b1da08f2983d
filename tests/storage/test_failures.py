"""Errors at every point of a commit: the store confirms only stored batches, and stops after a failed sync."""

import itertools
from pathlib import Path

import pytest
from tests.storage.contract import contents, follow
from tests.storage.loop import on_loop

from distq.core.ports import KEEP, CommitRefused, CommitUnknown, StoreError
from distq.storage.queue_file import Connect
from distq.storage.reserve import SpaceLimits
from distq.storage.sqlite import SqliteStore
from distq.storage.sqlite_connection import SqliteConnection, SqliteError

ROOM = SpaceLimits(free_bytes_min=0, reserve_bytes=4096)
IOERR_FSYNC = 1034
IOERR_WRITE = 778
FULL = 13
TOOBIG = 18
BATCH = {1: (b"new", KEEP), 2: None, 3: (b"h", b"three")}
BEFORE = {1: b"one", 2: b"two", 3: None}
AFTER = {1: b"one", 2: None, 3: b"three"}


class FaultyLink(SqliteConnection):
    """A connection that fails in one statement after it was armed: before the statement runs, or after."""

    countdown = 0
    code = 0
    late = False

    def run(self, sql: str, values: object = ()) -> list[tuple[object, ...]]:
        """Run the statement as the real connection does, or fail."""
        self.countdown -= 1
        fails = self.countdown == 0 and not sql.startswith("ROLLBACK")
        if fails and not self.late:
            raise SqliteError(self.code, "injected")
        rows = super().run(sql, values)  # type: ignore[arg-type] # passed on unchanged
        if fails:
            raise SqliteError(self.code, "injected")
        return rows

    def abandon(self) -> None:
        """Close the connection, as Python 3.12 can; with older ones the file stays open until the process ends."""
        self.close()


async def faulty(path: Path) -> tuple[SqliteStore, FaultyLink]:
    """Return a store with two rows, and its connection, which a test can arm."""
    links: list[FaultyLink] = []

    def connect(place: Path) -> FaultyLink:
        links.append(FaultyLink(place))
        return links[-1]

    checked: Connect = connect
    store = SqliteStore(path, space_limits=ROOM, connect=checked)
    await follow(store)
    await store.commit({1: (b"h", b"one"), 2: (b"h", b"two")})
    return store, links[-1]


@pytest.mark.parametrize("late", [False, True])
@on_loop
async def test_p1_an_error_of_the_disk_ends_the_store_wherever_it_comes(tmp_path: Path, late: bool) -> None:
    """An error at any statement, before or after it, raises CommitUnknown for good; the commit is whole or absent."""
    for at in itertools.count(1):  # until it is after the last statement
        path = tmp_path / f"{at}.db"
        store, connection = await faulty(path)
        connection.code, connection.late, connection.countdown = IOERR_FSYNC, late, at
        try:
            await store.commit(BATCH)
        except CommitUnknown as exc:
            assert f"The disk of {path} failed" in str(exc)  # noqa: PT017 - it may also pass
        else:
            await store.close()
            assert at > 6
            return
        assert str(path) in await store.lost()
        with pytest.raises(CommitUnknown):
            await store.commit({})
        with pytest.raises(StoreError):
            await follow(store)
        await store.close()
        store = SqliteStore(path, space_limits=ROOM)
        await follow(store)
        assert await contents(store, (1, 2, 3)) in (BEFORE, AFTER)
        await store.close()


@pytest.mark.parametrize("code", [FULL, TOOBIG])
@on_loop
async def test_no_room_is_a_refusal_and_nothing_is_stored(tmp_path: Path, code: int) -> None:
    """The store makes room and repeats the commit; a refusal stores no row."""
    for at in range(1, 8):  # a count, BEGIN, four writes, COMMIT
        store, connection = await faulty(tmp_path / f"{at}.db")
        connection.code, connection.countdown = code, at
        try:
            await store.commit(BATCH)
        except CommitRefused:
            assert code == TOOBIG
            assert await contents(store, (1, 2, 3)) == BEFORE
        else:
            assert await contents(store, (1, 2, 3)) == AFTER
        await store.commit({4: (b"h", b"on")})
        await store.close()


@on_loop
async def test_a_disk_that_fails_while_the_file_is_tidied_up_ends_the_store_too(tmp_path: Path) -> None:
    """`lost` returns before the next commit."""
    store, connection = await faulty(tmp_path / "queue.db")
    await store.commit(dict.fromkeys(range(10, 400), (b"h", b"b" * 4000)))
    connection.code, connection.countdown = IOERR_WRITE, 2
    assert "failed to read, write or sync" in await store.lost()
    await store.close()


@on_loop
async def test_the_health_of_a_store_does_not_need_a_readable_file(tmp_path: Path) -> None:
    """Figures that need no page of the file are still there: one failed read must not end a probe of the store."""
    store, connection = await faulty(tmp_path / "queue.db")
    connection.code, connection.countdown = IOERR_WRITE, 1
    health = await store.health()
    assert "free_pages" not in health
    assert health["broken"] == ""
    assert "free_pages" in await store.health()
    await store.close()
