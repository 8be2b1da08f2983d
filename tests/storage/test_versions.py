"""Files of every release: this release opens them, and the previous release can read the files that it writes."""

import shutil
import sqlite3
from pathlib import Path

import pytest
from tests.storage.contract import follow
from tests.storage.loop import on_loop

from distq.core.head import unpack_dead
from distq.core.ledger import Ledger
from distq.core.loading import Loader, restore
from distq.core.option_values import PLAIN
from distq.core.registry import Defaults, Registry
from distq.core.states import DEAD, DELAYED, LEASED, READY, SUCCEEDED
from distq.storage import schema
from distq.storage.reserve import SpaceLimits
from distq.storage.sqlite import SqliteStore

FILES = Path(__file__).parent / "files"
ROOM = SpaceLimits(free_bytes_min=0, reserve_bytes=4096)
FIRST = 1 << 40 | 1


def test_every_version_has_a_stored_file() -> None:
    """A change that adds a migration also adds a file that its release has written, and tests of its new rows."""
    names = {path.name for path in FILES.iterdir()}
    assert names == {f"version-{number}.sqlite" for number in range(1, schema.VERSION + 1)}


@pytest.fixture(name="file", params=range(1, schema.VERSION + 1))
def copy_of_file(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Copy a file of one version, which the test may change."""
    path = tmp_path / "queue.db"
    shutil.copyfile(FILES / f"version-{request.param}.sqlite", path)
    return path


def test_a_file_of_an_earlier_release_is_opened_with_all_that_is_in_it(file: Path) -> None:
    """The file has a task in every state, a plain item, a client's session, the epoch, and bodies in their old form."""

    @on_loop
    async def scene() -> None:
        store = SqliteStore(file, space_limits=ROOM)
        loader = Loader(Registry(Defaults()))
        loader.feed(list((await follow(store)).items()))
        ledger = Ledger(Defaults(), lambda: 0.5, store.epoch << 40 | 1)
        held = restore(ledger, loader, 1000.0).held
        tasks = list(ledger.state.tasks.values())
        assert [task.state for task in tasks] == [READY, LEASED, DELAYED, SUCCEEDED, DEAD, READY]
        assert list(held) == [FIRST + 1]
        envelope = tasks[0].envelope
        assert (envelope.queue.name, envelope.name, envelope.priority) == ("mail", "tasks:send", 7)
        assert envelope.time_limit_s == 30.0
        assert tasks[5].envelope.kind == PLAIN
        assert (tasks[2].failures, tasks[2].due_at) == (1, 112.0)
        bodies = await store.read([task.task_key for task in tasks])
        assert bodies[:4] + bodies[5:] == [b"ready", b"leased", b"delayed", b"result", b"item"]
        dead = unpack_dead(bodies[4] or b"")
        assert (dead.arguments, dead.error, list(dead.causes)) == (b"dead", b"error", [])
        assert [row[16:] for row in loader.sessions.values()] == [b"a session"]
        assert store.epoch == 2
        await store.close()

    scene()


def test_a_migrated_file_has_the_tables_that_the_previous_release_knows(file: Path) -> None:
    """An upgrade can be undone: each table and column that the previous release reads has its old name and type."""
    before = tables(file)

    @on_loop
    async def scene() -> None:
        store = SqliteStore(file, space_limits=ROOM)
        await follow(store)
        await store.commit({FIRST + 100: (b"head", b"body")})
        await store.close()

    scene()
    assert before.items() <= tables(file).items()


def tables(path: Path) -> dict[str, list[tuple[object, ...]]]:
    """Return the columns of every table, by its name."""
    connection = sqlite3.connect(path)
    try:
        names = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        return {name: connection.execute(f"PRAGMA table_info({name})").fetchall() for name in names}
    finally:
        connection.close()
