"""The durable store: one SQLite file, which a thread of its own reads and writes."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Final, ParamSpec, TypeVar

from distq.core.payload_cache import how_many_fit
from distq.core.ports import Batch, CommitRefused, CommitUnknown, Heads, StoreError, StoreLimits
from distq.storage.queue_file import KEY_MAX, KEY_MIN, Connect, QueueFile, Upkeep
from distq.storage.reserve import MIB, SpaceLimits
from distq.storage.sqlite_connection import SqliteConnection
from distq.storage.thread import StoreThread
from distq.storage.writes import gather

LIMITS: Final = StoreLimits(body_bytes_max=512 * MIB, batch_bytes_max=1024 * MIB, batch_changes_max=1_000_000)
"""Limits of one batch and of one body; SQLite itself accepts bodies of 1,000,000,000 bytes."""
LOCK_POLL_S: Final = 0.1
"""Seconds between two attempts of a standby to lock the file."""
IDLE_S: Final = 0.2
"""Seconds without a commit after which the store tidies the file, one short step after another."""
HEALTH_WAIT_S: Final = 0.5
"""Maximum seconds that `health` waits for a disk that hangs; then it returns the previous figures."""

P = ParamSpec("P")
T = TypeVar("T")


class SqliteStore:
    """A store that keeps every batch that it has confirmed.

    Every commit is one transaction with one sync. One process has the file at a time: the next one waits in
    `follow` until the lock is free. The thread finishes each call that it has begun, also if its caller is cancelled.
    """

    def __init__(
        self,
        path: Path,
        *,
        space_limits: SpaceLimits | None = None,
        upkeep: Upkeep | None = None,
        connect: Connect = SqliteConnection,
    ) -> None:
        self.limits = LIMITS
        self.epoch = 0
        self.leader = ""
        self.waiting = ""
        self._file = QueueFile(path, space_limits or SpaceLimits(), upkeep or Upkeep(), connect)
        self._thread = StoreThread("distq-store")
        self._closed = False
        self._over: asyncio.Event = asyncio.Event()
        self._known: Mapping[str, object] = {}
        self._last_commit = 0.0
        self._timer: asyncio.TimerHandle | None = None

    @property
    def refusing(self) -> str:
        """Why new keys are refused at present, '' while the volume has room; other changes are still accepted."""
        return self._file.refusing

    # -- leadership ----------------------------------------------------------------------------

    async def follow(self, address: str) -> AsyncIterator[Heads]:
        """Wait for the file's lock, then yield all heads in the order of keys; this process leads when it ends.

        Raises:
            StoreError: the file cannot be used; the text says what the operator must do.
        """
        while True:
            if self._closed:
                raise StoreError(f"{self._file.path} is closed")
            if await self._thread.run(self._file.open):
                break
            self.waiting = "another master has it open"
            await asyncio.sleep(LOCK_POLL_S)
        self.waiting = ""
        first = KEY_MIN
        while heads := await self._thread.run(self._file.heads, first):
            yield heads
            if heads[-1][0] == KEY_MAX:
                break
            first = heads[-1][0] + 1
        self.epoch = await self._thread.run(self._file.lead)
        self.leader = address

    async def raise_epoch(self, epoch: int) -> None:
        """Make the next epoch larger than `epoch`: the ids of new tasks begin with their epoch. Raises StoreError."""
        await self._thread.run(self._file.raise_epoch, epoch)

    async def lost(self) -> str:
        """Wait for an error that ends this store, and return it: no other process can take the lock away."""
        await self._over.wait()
        return self._file.broken

    # -- commit and read -----------------------------------------------------------------------

    async def commit(self, batch: Batch) -> None:
        """Store the batch in one transaction, synced when this returns. Raises CommitRefused or CommitUnknown."""
        if not self.epoch or self._closed:
            raise CommitRefused("nothing is stored before follow() has ended or after close()", is_general=True)
        writes = gather(batch, self.limits)
        try:
            await self._thread.run(self._file.commit, writes)
        except CommitUnknown:
            self._over.set()
            raise
        self._tidy_later()

    async def read(self, keys: Sequence[int], bytes_max: int | None = None) -> list[bytes | None]:
        """Return the bodies of `keys`; with `bytes_max`, of as many of the first keys as fit, at least one.

        Raises:
            StoreError: the file cannot be read.
        """
        if bytes_max is not None and len(keys) > 1:
            sizes = await self._thread.run(self._file.sizes, keys)
            keys = keys[: how_many_fit([sizes.get(key, 0) for key in keys], bytes_max)]
        found = await self._thread.run(self._file.read, keys)
        return [found.get(key) for key in keys]

    async def copy(self) -> Path:
        """Write a copy beside the file and return its path; commits wait meanwhile. Raises CommitRefused."""
        return await self._thread.run(self._file.copy)

    # -- upkeep --------------------------------------------------------------------------------

    def _tidy_later(self) -> None:
        """After a commit: copy an overgrown log before the next commit, and tidy the file after IDLE_S without one."""
        loop = asyncio.get_running_loop()
        self._last_commit = loop.time()
        if self._file.overgrown:
            self._tidy(idle=False)
        if self._timer is None:
            self._timer = loop.call_later(IDLE_S, self._tidy_if_idle)

    def _tidy_if_idle(self) -> None:
        self._timer = None
        if self._closed:
            return
        loop = asyncio.get_running_loop()
        due = self._last_commit + IDLE_S
        if loop.time() >= due:
            self._tidy(idle=True)
        else:
            self._timer = loop.call_at(due, self._tidy_if_idle)

    def _tidy(self, *, idle: bool) -> None:
        """Run one step of upkeep on the thread, and the next one if more is to do and no commit has come."""

        def done(step: asyncio.Future[bool]) -> None:
            if self._file.broken:
                self._over.set()
            elif not step.cancelled() and step.result() and not self._closed and self._timer is None:
                self._tidy_if_idle()

        self._thread.run(self._file.upkeep, idle).add_done_callback(done)

    # -- health and end ------------------------------------------------------------------------

    async def health(self) -> Mapping[str, object]:
        """Return the store's role and figures; `hangs` is True if the disk does not answer within HEALTH_WAIT_S."""
        role = {"role": "leader" if self.epoch and not self._closed else "standby"}
        if not self._closed:
            try:
                self._known = await asyncio.wait_for(asyncio.shield(self._thread.run(self._file.health)), HEALTH_WAIT_S)
            except TimeoutError:
                return {**self._known, **role, "kind": "sqlite", "hangs": True}
        return {**self._known, **role, "kind": "sqlite", "hangs": False}

    async def close(self) -> None:
        """Fold the log into the file and release the lock, after all earlier calls have ended."""
        if self._closed:
            return
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        await self._thread.run(self._file.close)
        self._thread.end()
