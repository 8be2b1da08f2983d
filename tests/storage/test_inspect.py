"""A queue file that no master has open: its tasks are counted, its pages checked, its readable tasks copied."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from tests.core.build import new_ledger
from tests.storage.contract import follow
from tests.storage.loop import on_loop

from distq.core import head
from distq.core.option_values import TASK
from distq.core.ports import StoreError
from distq.core.states import DEAD, READY
from distq.storage.inspect import inspect, salvage
from distq.storage.reserve import MIB, SpaceLimits
from distq.storage.sqlite import SqliteStore

ROOM = SpaceLimits(free_bytes_min=MIB, reserve_bytes=MIB)
TASKS = 5_000
PAGE_BYTES = 4096


async def filled(path: Path, *, close: bool = True) -> SqliteStore:
    """Make a store with TASKS tasks, every fifth of them dead."""
    envelope = new_ledger().registry.envelope("q", "f", TASK)
    store = SqliteStore(path, space_limits=ROOM)
    await follow(store)
    states = {key: DEAD if key % 5 == 0 else READY for key in range(1, TASKS + 1)}
    rows = {
        key: (head.pack(envelope, state, 1, 0, 0, 1.0, 2.0, 3.0), b"body %d" % key) for key, state in states.items()
    }
    await store.commit(rows)
    if close:
        await store.close()
    return store


def damage(path: Path, page: int, pages: int = 1) -> None:
    """Overwrite pages, the first one being 1."""
    with path.open("r+b") as file:
        file.seek((page - 1) * PAGE_BYTES)
        file.write(b"\xff" * PAGE_BYTES * pages)


@on_loop
async def test_a_whole_file_is_counted_by_queue_and_state(tmp_path: Path) -> None:
    """The report has no problems."""
    path = tmp_path / "queue.db"
    await filled(path)
    report = inspect(path, checks_every_page=True)
    assert (report.tasks, report.problems) == ({"q": {"ready": TASKS * 4 // 5, "dead": TASKS // 5}}, [])
    assert (report.version, report.epoch) == (1, 1)
    assert report == inspect(path, checks_every_page=False)


@on_loop
async def test_a_file_that_a_master_has_open_is_left_alone(tmp_path: Path) -> None:
    """Two connections to one file can lose a commit, so the inspection refuses it."""
    path = tmp_path / "queue.db"
    store = await filled(path, close=False)
    for read in (lambda: inspect(path, checks_every_page=True), lambda: salvage(path, tmp_path / "new.db")):
        with pytest.raises(StoreError, match="open in a master: stop it first"):
            read()
    assert not (tmp_path / "new.db").exists()
    await store.close()


@on_loop
async def test_the_readable_tasks_of_a_damaged_file_are_saved(tmp_path: Path) -> None:
    """Only whole tasks are copied; a new store opens them with the old epoch; the counts say how many are missing."""
    path, new = tmp_path / "queue.db", tmp_path / "new.db"
    await filled(path)
    damage(path, 40, 3)
    assert inspect(path, checks_every_page=True).problems
    saved = salvage(path, new)
    missing = saved.without_payload + saved.without_head
    assert not saved.gave_up
    assert 0 < missing < 500
    assert TASKS - 500 < saved.copied <= TASKS - missing // 2
    assert inspect(new, checks_every_page=True).problems == []
    store = SqliteStore(new, space_limits=ROOM)
    heads = await follow(store)
    assert (len(heads), store.epoch) == (saved.copied, 2)
    key = next(iter(heads))
    assert await store.read([key]) == [b"body %d" % key]
    await store.close()


@on_loop
async def test_rows_that_no_master_could_load_are_reported_and_left_out(tmp_path: Path) -> None:
    """`check` names each of them, and the copy has only rows with which a master starts."""
    path, new = tmp_path / "queue.db", tmp_path / "new.db"
    await filled(path)
    with closing(sqlite3.connect(path)) as file, file:
        file.execute("UPDATE heads SET head = x'01' WHERE key = (SELECT min(key) FROM heads)")
    assert ["cannot be read" in problem for problem in inspect(path, checks_every_page=False).problems] == [True]
    saved = salvage(path, new)
    assert (saved.copied, saved.without_head) == (TASKS - 1, 1)
    assert inspect(new, checks_every_page=True).problems == []


@pytest.mark.parametrize("content", [b"", b"no database at all, " * 50])
def test_a_file_that_is_no_queue_file_is_named_in_the_error(tmp_path: Path, content: bytes) -> None:
    """The error names the file; so does the error for a file that does not exist."""
    path = tmp_path / "queue.db"
    with pytest.raises(StoreError, match=r"There is no .*queue\.db"):
        inspect(path, checks_every_page=False)
    path.write_bytes(content)
    with pytest.raises(StoreError, match=r"queue\.db is"):
        inspect(path, checks_every_page=False)
    assert path.read_bytes() == content


@on_loop
async def test_a_copy_never_replaces_a_file(tmp_path: Path) -> None:
    """The copy needs the name of a file that does not exist."""
    path, new = tmp_path / "queue.db", tmp_path / "new.db"
    await filled(path)
    new.write_bytes(b"dear")
    with pytest.raises(StoreError, match="exists already"):
        salvage(path, new)
    assert new.read_bytes() == b"dear"
