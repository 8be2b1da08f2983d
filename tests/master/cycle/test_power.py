"""P1 and P2, the power cut under a whole master: frames in, answers out, and SQLite on a disk that goes off."""

import asyncio
import pickle
import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.master.bench import START, Bench, done
from tests.storage.power import ApswLink, CarelessLink, Disk, PowerCut, PowerVFS

from distq.core.ledger import Ledger
from distq.core.loading import Loader, restore
from distq.core.registry import Defaults, Registry
from distq.core.states import LEASED, SUCCEEDED
from distq.storage.queue_file import Connect, Upkeep
from distq.storage.reserve import Room
from distq.storage.sqlite import SqliteStore

SEEDS = 40
LIVES = 4
STEPS = 40
DEFAULTS = Defaults(capacity=1_000_000, payload_bytes_max=100_000)
FOLD_OFTEN = Upkeep(wal_bytes_max=100_000)


class Story:
    """What the outside world was told, from one power cut to the next."""

    def __init__(self, seed: int, connect: Connect) -> None:
        self.chance = random.Random(seed)
        self.connect = connect
        self.submits = 0
        self.accepted: dict[int, bytes] = {}
        """Task id and payload of what a submit was answered for."""
        self.acknowledged: set[int] = set()
        """Of those, the ones whose result was answered for."""

    async def live(self, path: Path, disk: Disk, steps: int) -> None:
        """Start a master on the file, hold it against the story, and go on with both. Raises PowerCut."""
        store = SqliteStore(path, room=Room(0, 1), upkeep=FOLD_OFTEN, connect=self.connect)
        try:
            names = Registry(DEFAULTS)
            loader = Loader(names)
            async for heads in store.follow("bench:1"):
                loader.feed(heads)
            ledger = Ledger(DEFAULTS, self.chance.random, store.epoch << 40 | 1, names)
            restore(ledger, loader, START)
            bench = Bench(store=store, ledger=ledger)
            bench.dispatcher.clients.restore(loader.sessions, {})
            await self.compare(bench)
            bench.worker()
            for _ in range(steps):
                await self.step(bench, disk)
        finally:
            disk.off = True
            await store.close()

    async def compare(self, bench: Bench) -> None:
        """Everything that was answered is there."""
        bodies = await bench.store.read(list(self.accepted))
        for (key, payload), body in zip(self.accepted.items(), bodies, strict=True):
            task = bench.ledger.state.tasks.get(key)
            assert task is not None, "an answered submit is not there"
            if key in self.acknowledged:
                assert task.state == SUCCEEDED, "an acknowledged result is not there"
            assert body == (pickle.dumps(key) if task.state == SUCCEEDED else payload)
            assert task.state != LEASED

    async def step(self, bench: Bench, disk: Disk) -> None:
        """Submit, or run what there is; believed only if the power is still on when the answer is there."""
        if self.chance.random() < 0.6:
            self.submits += 1
            bodies = [self.chance.randbytes(self.chance.choice([1, 200, 9_000])) for _ in range(3)]
            connection = bench.client()
            _, first, *_ = await bench.submit(connection, self.submits, bodies)
            on(disk)
            self.accepted.update(zip(range(first, first + 3), bodies, strict=True))
        else:
            connection = bench.executor()
            rows = await bench.exchange(connection, want=self.chance.randrange(1, 5))
            if isinstance(rows, list):
                await bench.exchange(connection, [done(row, row[0]) for row in rows], want=0)
                on(disk)
                self.acknowledged.update(row[0] for row in rows)
        await asyncio.sleep(0)


def on(disk: Disk) -> None:
    """Raise PowerCut if the power is off."""
    if disk.off:
        raise PowerCut


@pytest.fixture(name="vfs", scope="module")
def make_vfs() -> Iterator[PowerVFS]:
    """SQLite on a disk that can lose power."""
    vfs = PowerVFS()
    yield vfs
    vfs.unregister()


def reply(vfs: PowerVFS, path: Path, seed: int, connect: Connect = ApswLink) -> tuple[int, int]:
    """Lives that end at seeded moments, and a look at what is left: power cuts, and acknowledged results."""
    story, cuts = Story(seed, connect), 0
    vfs.disk = Disk()
    for _ in range(LIVES):
        vfs.disk.cut_at = story.chance.randrange(30, 1500)
        try:
            asyncio.run(story.live(path, vfs.disk, STEPS))
        except PowerCut:
            cuts += 1
        vfs.disk = vfs.disk.after_power_is_back(story.chance)
    asyncio.run(story.live(path, vfs.disk, 0))
    return cuts, len(story.acknowledged)


def test_p1_p2_no_power_cut_loses_what_a_master_has_answered(vfs: PowerVFS, tmp_path: Path) -> None:
    """Each life finds every answered submit, and every acknowledged result."""
    cuts = acknowledged = 0
    for seed in range(SEEDS):
        try:
            cuts_here, acknowledged_here = reply(vfs, tmp_path / "queue.db", seed)
        except BaseException as exc:
            exc.add_note(f"seed {seed}")
            raise
        cuts += cuts_here
        acknowledged += acknowledged_here
    assert cuts > SEEDS
    assert acknowledged > 10 * SEEDS


def test_a_master_whose_store_does_not_sync_is_found_out(vfs: PowerVFS, tmp_path: Path) -> None:
    """So that the test above can fail: most seeds lose something that was answered."""
    lost = 0
    for seed in range(20):
        try:
            reply(vfs, tmp_path / "queue.db", seed, CarelessLink)
        except Exception:  # noqa: BLE001 - lost tasks, or a file that cannot even be opened
            lost += 1
    assert lost > 10
