"""Tests of copies between files, and of what `copy` refuses."""

import asyncio
from pathlib import Path

import pytest
from tests.storage.contract import follow
from tests.storage.copy_contract import CopyContract, copied, tasks
from tests.storage.copying_program import stopping_copy
from tests.storage.moved_rows import fill, rows_of

from distq.core.ports import StoreError
from distq.storage import copying, open_store
from distq.storage.inspect import inspect


class TestFilesToFiles(CopyContract):
    """A file is copied to another file."""

    def new_source(self) -> str:
        """Return a new file."""
        return self.new_file()

    def new_destination(self) -> str:
        """Return a new file."""
        return self.new_file()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Refuse at once what would wait for a killed leader's lease."""
    monkeypatch.setattr(copying, "WAIT_S", 0.1)


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("held", ["source.db", "to.db"])
def test_a_file_that_a_master_has_open_is_refused(tmp_path: Path, held: str) -> None:
    """The error says what to do, and names the file."""
    fill(f"sqlite:///{tmp_path}/source.db", tasks(3))

    async def attempt() -> None:
        store = open_store(f"sqlite:///{tmp_path / held}", 0.0)
        await follow(store)
        try:
            with pytest.raises(StoreError, match=rf"{held} cannot be used: another master has it open\. Stop all"):
                await asyncio.to_thread(copied, f"sqlite:///{tmp_path}/source.db", f"sqlite:///{tmp_path}/to.db")
        finally:
            await store.close()

    asyncio.run(attempt())
    assert len(rows_of(f"sqlite:///{tmp_path}/source.db")[0]) == 3


def test_a_store_is_not_copied_to_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also if the path is written in another way."""
    monkeypatch.chdir(tmp_path)
    fill("sqlite:///queue.db", tasks(3))
    with pytest.raises(StoreError, match="cannot be copied to itself"):
        copied("sqlite:///queue.db", f"sqlite:///{tmp_path}/queue.db")


@pytest.mark.parametrize("urls", [("memory:", "sqlite:///queue.db"), ("sqlite:///queue.db", "memory:")])
def test_a_store_in_memory_is_refused(urls: tuple[str, str]) -> None:
    """It ends with its process."""
    with pytest.raises(StoreError, match="A store in memory ends with its master"):
        copied(*urls)


def test_an_unfinished_copy_is_said_to_be_one(tmp_path: Path) -> None:
    """By `distq store stat`, and by a copy that has it as its source."""
    source, to = f"sqlite:///{tmp_path}/source.db", f"sqlite:///{tmp_path}/to.db"
    fill(source, tasks(50))
    with stopping_copy(source, to, 2, 10) as program:
        assert program.stdout is not None
        program.stdout.readline()
        program.kill()
    found = inspect(tmp_path / "to.db", checks_every_page=False)
    assert found.problems == ["an interrupted `distq store copy` has not copied all rows to this file"]
    assert found.tasks == {"q": {"ready": 20}}
    with pytest.raises(StoreError, match="is itself an unfinished copy"):
        copied(to, f"sqlite:///{tmp_path}/third.db")


def test_a_head_of_a_later_release_is_refused(tmp_path: Path) -> None:
    """Before anything is written."""
    fill(f"sqlite:///{tmp_path}/source.db", {5: (b"\x63" + bytes(80), b"")})
    with pytest.raises(StoreError, match="use the release of distq that wrote it"):
        copied(f"sqlite:///{tmp_path}/source.db", f"sqlite:///{tmp_path}/to.db")
    assert not (tmp_path / "to.db").exists()
