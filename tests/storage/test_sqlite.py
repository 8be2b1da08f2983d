"""The durable store passes the contract, and the tests that only a durable store needs."""

import asyncio
import signal
import sqlite3
import threading
from pathlib import Path

import pytest
from tests.storage.committer import body_of, committer
from tests.storage.contract import Opener, StoreContract, contents, follow
from tests.storage.loop import on_loop

from distq.cli.app import sentences
from distq.core.ports import KEEP, Store, StoreError
from distq.storage import schema
from distq.storage.queue_file import HEADS_RUN, Upkeep
from distq.storage.reserve import SpaceLimits
from distq.storage.sqlite import SqliteStore
from distq.storage.sqlite_connection import ConnectionPort, SqliteConnection

ROOM = SpaceLimits(free_bytes_min=0, reserve_bytes=4096)


class Looks:
    """Counts the attempts to lock a file: each is a new connection."""

    def __init__(self) -> None:
        self._begun = threading.Semaphore(0)

    def __call__(self, path: Path) -> ConnectionPort:
        """Connect."""
        self._begun.release()
        return SqliteConnection(path)

    async def one_has_failed(self) -> None:
        """Wait until an attempt that begins after this call has failed: then a later one has begun."""
        while self._begun.acquire(blocking=False):
            pass
        for _ in "ab":
            assert await asyncio.to_thread(self._begun.acquire, timeout=20)


class TestSqliteStore(StoreContract):
    """A store in a file, which one process has at a time."""

    @pytest.fixture(autouse=True)
    def place(self, tmp_path: Path) -> None:
        """Make a folder for each test."""
        self.folder = tmp_path
        self.failing_reads = Looks()

    async def make(self, place: str) -> Store:
        """Return the store in the file of that name."""
        return SqliteStore(self.folder / place, space_limits=ROOM, connect=self.failing_reads)

    def test_an_older_leader_is_fenced(self) -> None:
        """The file's lock fences it: the second store waits until the first closes, and then has all its commits."""

        async def scene(opener: Opener) -> None:
            first = await opener()
            second = await opener(lead=False)
            following = asyncio.create_task(follow(second))
            for key in range(1, 4):
                await first.commit({key: (b"h", b"first")})
                await self.failing_reads.one_has_failed()
                assert not following.done()
            assert (second.epoch, (await second.health())["role"]) == (0, "standby")
            await first.close()
            assert await following == dict.fromkeys(range(1, 4), b"h")
            assert second.epoch > first.epoch
            with pytest.raises(StoreError):
                await first.commit({1: (b"h", b"late")})

        self.play(scene)

    def test_heads_come_in_runs_by_key(self) -> None:
        """The heads are sorted over all lists; the last of all possible keys is read, and only once."""

        async def scene(opener: Opener) -> None:
            store = await opener()
            keys = [*range(-3, 2 * HEADS_RUN), (1 << 63) - 1]
            await store.commit({key: (b"%d" % key, b"") for key in reversed(keys)})
            await store.close()
            store = await opener(lead=False)
            runs = [list(run) async for run in store.follow("here")]
            assert [len(run) for run in runs] == [HEADS_RUN, HEADS_RUN, 4]
            assert [key for run in runs for key, _ in run] == keys
            assert await store.read(keys[-2:]) == [b"", b""]

        self.play(scene)

    def test_a_drained_file_shrinks_by_itself(self) -> None:
        """The file shrinks step by step, while no commit comes."""

        async def scene(opener: Opener) -> None:
            store = await opener()
            path = self.folder / "place"
            await store.commit(dict.fromkeys(range(10000), (b"h" * 90, b"b" * 1000)))
            await store.commit(dict.fromkeys(range(9_999)))
            while path.stat().st_size > 40_000 or (self.folder / "place-wal").stat().st_size:  # noqa: ASYNC110 - see below
                await asyncio.sleep(0.01)  # polled: no event reports that a file has shrunk
            assert path.stat().st_size > 0
            assert await store.read([9_999]) == [b"b" * 1000]

        self.play(scene)

    def test_the_log_is_folded_into_the_file_under_load(self) -> None:
        """The store folds it between two commits without a pause, so that it stays near its limit."""

        async def scene(opener: Opener) -> None:
            path = self.folder / "busy"
            store = SqliteStore(path, space_limits=ROOM, upkeep=Upkeep(wal_bytes_max=100_000))
            await follow(store)
            for key in range(200):
                await store.commit({key: (b"h", b"b" * 10_000)})
                assert (self.folder / "busy-wal").stat().st_size < 200_000
            assert path.stat().st_size > 1_500_000
            await store.close()

        self.play(scene)

    def test_a_cancelled_commit_is_whole_and_the_next_succeeds(self) -> None:
        """A commit whose caller is cancelled is stored completely or not at all, and the next commit succeeds."""

        async def scene(opener: Opener) -> None:
            store = await opener()
            commit = asyncio.create_task(store.commit(dict.fromkeys(range(5000), (b"h", b"b" * 1000))))
            await asyncio.sleep(0)
            commit.cancel()
            await asyncio.gather(commit, return_exceptions=True)
            await store.commit({-1: (b"h", b"next")})
            found = await contents(store, tuple(range(-1, 5000)))
            assert len({found[key] is None for key in range(5000)}) == 1
            assert found[-1] == b"next"

        self.play(scene)

    def test_the_health_of_the_store_has_sizes_and_the_version_of_sqlite(self) -> None:
        """The values are plain, for probes, metrics and a status page."""

        async def scene(opener: Opener) -> None:
            store = await opener()
            await store.commit({1: (b"h", b"b" * 100_000)})
            health = await store.health()
            assert health["sqlite_version"] == sqlite3.sqlite_version
            assert health["file"] == str(self.folder / "place")
            sizes = {name: health[name] for name in ("bytes", "wal_bytes", "free_bytes", "pages", "commit_s")}
            assert all(isinstance(size, (int, float)) and size > 0 for size in sizes.values()), sizes
            assert (health["broken"], health["refusing"], health["hangs"]) == ("", "", False)

        self.play(scene)


@on_loop
async def test_p1_every_answered_commit_survives_kill_9(tmp_path: Path) -> None:
    """A process is killed eight times while it commits: all keys that it has printed are stored, for each epoch."""
    path = tmp_path / "queue.db"
    answered: set[int] = set()
    for run_number in range(8):
        with committer(f"sqlite:///{path}") as process:
            assert process.stdout
            answered.update(int(process.stdout.readline()) for _ in range(5 + 7 * run_number))
            process.send_signal(signal.SIGKILL)
            answered.update(int(line) for line in process.stdout if line.endswith("\n"))
    store = SqliteStore(path)
    heads = await follow(store)
    assert answered <= heads.keys()
    assert len(heads) - len(answered) <= 8, "at most one commit a life was on its way"
    assert {key >> 40 for key in answered} == set(range(1, 9))
    assert store.epoch == 9
    assert await contents(store, tuple(heads)) == {key: body_of(key) for key in heads}
    await store.close()


@on_loop
async def test_a_killed_masters_file_is_taken_over_while_another_waits(tmp_path: Path) -> None:
    """The kernel releases the lock when the process ends."""
    path = tmp_path / "queue.db"
    with committer(f"sqlite:///{path}") as process:
        assert process.stdout
        last = [int(process.stdout.readline()) for _ in range(20)][-1]
        failing_reads = Looks()
        store = SqliteStore(path, connect=failing_reads)
        following = asyncio.create_task(follow(store))
        await failing_reads.one_has_failed()
        assert not following.done()
        process.kill()
        assert last in await following
    await store.commit({last: (b"new", KEEP)})
    assert await store.read([last]) == [body_of(last)]
    await store.close()


# -- files that cannot be used -------------------------------------------------------------------


def newer(path: Path) -> None:
    """Make a file of a later release."""
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE tasks (a)")
        connection.execute(f"PRAGMA application_id = {schema.APPLICATION}")
        connection.execute(f"PRAGMA user_version = {schema.VERSION + 1}")
    connection.close()


def foreign(path: Path) -> None:
    """Make a database of another program."""
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE addresses (a)")
    connection.close()


UNUSABLE = [
    pytest.param(lambda path: path.write_bytes(b"Dear diary, " * 100), "is not a database", id="not a database"),
    pytest.param(newer, "newer distq .* version 2, this one knows up to 1", id="newer"),
    pytest.param(foreign, "database of another program", id="foreign"),
    pytest.param(lambda path: path.mkdir(), "is a folder", id="a folder"),
]


@pytest.mark.parametrize(("spoil", "sentence"), UNUSABLE)
@on_loop
async def test_a_file_that_cannot_be_used_is_named_and_not_changed(
    tmp_path: Path, spoil: object, sentence: str
) -> None:
    """One sentence names the file and says what the operator must do."""
    path = tmp_path / "queue.db"
    assert callable(spoil)
    spoil(path)
    before = path.read_bytes() if path.is_file() else None
    await check_unusable(path, sentence)
    assert (path.read_bytes() if path.is_file() else None) == before
    assert names(tmp_path) == ["queue.db"]


@on_loop
async def test_a_folder_that_is_missing_is_named(tmp_path: Path) -> None:
    """The store does not make it: without its mount, a volume's store must not begin on the wrong disk."""
    await check_unusable(tmp_path / "volume" / "queue.db", "folder .*volume .* does not exist: create it or mount it")


@on_loop
async def test_a_damaged_page_is_found_when_it_is_read(tmp_path: Path) -> None:
    """The store finds it while it loads, and never leads with only some of its tasks."""
    path = tmp_path / "queue.db"
    store = SqliteStore(path, space_limits=ROOM)
    await follow(store)
    await store.commit(dict.fromkeys(range(5000), (b"h" * 100, b"")))
    await store.close()
    with path.open("r+b") as file:
        file.seek(20 * 4096)
        file.write(b"\xff" * 4096)
    await check_unusable(path, "is damaged: restore a backup")


def names(folder: Path) -> list[str]:
    """Return the sorted names in a folder."""
    return [there.name for there in folder.iterdir()]


async def check_unusable(path: Path, sentence: str) -> None:
    """Assert that `follow` raises this sentence, with the file's name, and that the store does not lead."""
    store = SqliteStore(path, space_limits=ROOM)
    with pytest.raises(StoreError, match=sentence) as caught:
        await follow(store)
    assert path.name in sentences(caught.value)  # unchanged, also at the beginning of a sentence
    assert store.epoch == 0
    await store.close()
