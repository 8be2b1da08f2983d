"""Only its own user can read a store, its log, its reserve or a copy of it, whatever the umask."""

import asyncio
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from distq.storage import open_store, private
from distq.storage.inspect import salvage


@pytest.fixture(autouse=True)
def _open_umask() -> Iterator[None]:
    """Set the umask that removes no right."""
    before = os.umask(0)
    yield
    os.umask(before)


def modes(folder: Path) -> dict[str, int]:
    """Return the modes of the files in a folder, by name."""
    return {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}


async def _use(path: Path) -> Path:
    """Commit and copy; return the path of the copy. The store stays open so that its log exists."""
    store = open_store(f"sqlite:///{path}", 1.0)
    async for _ in store.follow("here"):
        pass
    await store.commit({store.epoch << 40 | 1: (b"h" * 60, b"body")})
    copied = await store.copy()
    assert {path.name, f"{path.name}-wal", copied.name} <= set(modes(path.parent))
    assert set(modes(path.parent).values()) == {0o600}
    stored = copied.rename(path.parent / "kept.db")
    await store.close()
    return stored


def test_a_new_store_its_log_and_its_copy_are_for_its_user_alone(tmp_path: Path) -> None:
    """A salvaged copy is private too; the mode of the folder stays as it is."""
    before = tmp_path.stat().st_mode
    copied = asyncio.run(_use(tmp_path / "q.db"))
    salvage(copied, tmp_path / "saved.db")
    assert set(modes(tmp_path).values()) == {0o600}
    assert tmp_path.stat().st_mode == before


def test_a_store_of_an_earlier_version_is_tightened_when_it_is_opened(tmp_path: Path) -> None:
    """The store also changes the modes of its log and its reserve; the owner keeps the same rights."""
    asyncio.run(_use(tmp_path / "q.db"))
    for path in tmp_path.iterdir():
        path.chmod(0o644)
    (tmp_path / "kept.db").unlink()
    asyncio.run(_use(tmp_path / "q.db"))


def test_the_store_changes_no_mode_of_another_users_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A volume may give every file to another user; then the store does not change their modes."""
    path = tmp_path / "q.db"
    path.write_bytes(b"")
    path.chmod(0o644)
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    private.tighten(path)
    private.tighten(tmp_path / "nothing")
    assert modes(tmp_path) == {"q.db": 0o644}


def test_files_that_are_written_are_for_their_user_alone(tmp_path: Path) -> None:
    """Backups and the reserve are private; only `replace` overwrites an existing file."""
    path = tmp_path / "backup"
    with private.open_new(path) as file:
        file.write(b"copy")
    assert modes(tmp_path) == {"backup": 0o600}
    with pytest.raises(FileExistsError):
        private.open_new(path)
    with private.open_new(path, replace=True) as file:
        file.write(b"new")
    assert path.read_bytes() == b"new"
