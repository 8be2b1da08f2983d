"""The number of valid bytes in SQLite's log, compared with SQLite's own count."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distq.storage import schema
from distq.storage.sqlite_connection import SqliteConnection
from distq.storage.wal import HEADER, Wal

FRAME_BYTES = 4096 + 24


def prepared(path: Path) -> SqliteConnection:
    """Make a queue file whose log has nothing to fold."""
    connection = SqliteConnection(path)
    schema.prepare(connection, empty=True)
    connection.run("PRAGMA wal_checkpoint(TRUNCATE)")
    return connection


def put(connection: SqliteConnection, key: int, byte_count: int) -> None:
    """Make one commit."""
    connection.run("INSERT OR REPLACE INTO bodies VALUES (?, ?)", (key, bytes(byte_count)))


def test_an_empty_log_and_one_that_is_missing_have_nothing_to_fold(tmp_path: Path) -> None:
    """The log has none before the first commit, and before the file exists."""
    wal = Wal(tmp_path / "queue.db")
    assert (wal.size_bytes(), wal.uncopied_bytes()) == (0, 0)
    connection = prepared(tmp_path / "queue.db")
    assert (wal.size_bytes(), wal.uncopied_bytes()) == (0, 0)
    connection.close()


@settings(max_examples=40)
@given(st.lists(st.one_of(st.integers(1, 60_000), st.just("fold")), max_size=30))
def test_the_log_size_equals_the_frames_that_sqlite_counts(
    tmp_path_factory: pytest.TempPathFactory, steps: list[int | str]
) -> None:
    """The counts agree after any sequence of commits and folds, after which SQLite writes over the blocks."""
    path = tmp_path_factory.mktemp("wal") / "queue.db"
    connection, wal, reopened = prepared(path), Wal(path), Wal(path)
    for key, step in enumerate(steps):
        if isinstance(step, int):
            put(connection, key, step)
        else:
            ((_, frames, folded),) = connection.run("PRAGMA wal_checkpoint(PASSIVE)")
            counted = HEADER.size + frames * FRAME_BYTES if frames else 0
            assert reopened.uncopied_bytes() == counted
            assert frames == folded
            wal.note_all_copied()
            reopened = Wal(path)
            assert wal.uncopied_bytes() == 0
    connection.close()


def test_a_folded_log_keeps_its_blocks_and_counts_from_the_front_again(tmp_path: Path) -> None:
    """The next commits do not enlarge the file."""
    path = tmp_path / "queue.db"
    connection, wal = prepared(path), Wal(path)
    put(connection, 1, 500_000)
    size = wal.size_bytes()
    assert wal.uncopied_bytes() == size
    connection.run("PRAGMA wal_checkpoint(PASSIVE)")
    wal.note_all_copied()
    put(connection, 2, 10)
    assert wal.size_bytes() == size
    assert 0 < wal.uncopied_bytes() < 5 * FRAME_BYTES
    connection.close()
