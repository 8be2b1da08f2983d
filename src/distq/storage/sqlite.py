"""The durable store: one SQLite file, on a thread of its own."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path
from typing import Final, ParamSpec, TypeVar

from distq.core.payload_cache import how_many_fit
from distq.core.ports import Batch, CommitRefused, CommitUnknown, Heads, StoreError, StoreLimits
from distq.storage.queue_file import KEY_MAX, KEY_MIN, Connect, QueueFile, Upkeep
from distq.storage.reserve import MIB, Room
from distq.storage.sqlite_connection import SqliteConnection
from distq.storage.thread import StoreThread
from distq.storage.writes import gather

LIMITS: Final = StoreLimits(body_bytes_max=512 * MIB, batch_bytes_max=1024 * MIB, batch_changes_max=1_000_000)
"""SQLite itself takes bodies of a thousand million bytes."""
LOCK_POLL_S: Final = 0.1
"""A master that waits for the file looks this often."""
IDLE_S: Final = 0.2
"""After this long without a commit the file is tidied up, one short step after another."""
HEALTH_WAIT_S: Final = 0.5
"""Health does not wait longer for a disk that hangs, and tells what it knew before."""

P = ParamSpec("P")
T = TypeVar("T")


class SqliteStore:
    """A store that keeps what it has said yes to.

    Every commit is one transaction with one sync. One process has the file at a time: the next one waits in
    `follow` until the lock is free. The thread never stops half-way: what is begun there ends there.
    """

    def __init__(
        self, path: Path, *, room: Room | None = None, upkeep: Upkeep | None = None, connect: Connect = SqliteConnection
    ) -> None:
        self.limits = LIMITS
        self.epoch = 0
        self.leader = ""
        self._file = QueueFile(path, room or Room(), upkeep or Upkeep(), connect)
        self._thread = StoreThread("distq-store")
        self._closed = False
        self._over: asyncio.Event = asyncio.Event()
        self._known: Mapping[str, object] = {}
        self._last_commit = 0.0
        self._timer: asyncio.TimerHandle | None = None

    @property
    def refusing(self) -> str:
        """Why new keys are refused at present, '' while there is room; puts of known keys, amends and drops go on."""
        return self._file.refusing

    def _run(self, work: Callable[P, T], *args: P.args, **kwds: P.kwargs) -> asyncio.Future[T]:
        """Do it on the thread, after all that was asked before."""
        return self._thread.run(work, *args, **kwds)

    # -- leadership ----------------------------------------------------------------------------

    async def follow(self, address: str) -> AsyncIterator[Heads]:
        """Wait for the file's lock, then give all heads by key; leads when it ends.

        Raises:
            StoreError: the file cannot be used, with what to do about it.
        """
        while True:
            if self._closed:
                raise StoreError(f"{self._file.path} is closed")
            if await self._run(self._file.open):
                break
            await asyncio.sleep(LOCK_POLL_S)
        first = KEY_MIN
        while heads := await self._run(self._file.heads, first):
            yield heads
            if heads[-1][0] == KEY_MAX:
                break
            first = heads[-1][0] + 1
        self.epoch = await self._run(self._file.lead)
        self.leader = address

    async def lost(self) -> str:
        """Return the reason when an error has ended this store: the lock cannot be taken away."""
        await self._over.wait()
        return self._file.broken

    # -- commit and read -----------------------------------------------------------------------

    async def commit(self, batch: Batch) -> None:
        """One transaction, synced when this returns. Raises Refused or Unknown."""
        if not self.epoch or self._closed:
            raise CommitRefused("nothing is stored before follow() has ended or after close()")
        writes = gather(batch, self.limits)
        try:
            await self._run(self._file.commit, writes)
        except CommitUnknown:
            self._over.set()
            raise
        self._tidy_later()

    async def read(self, keys: Sequence[int], bytes_max: int | None = None) -> list[bytes | None]:
        """The bodies of `keys`, or of as many of the first as fit. Raises StoreError if the file cannot be read."""
        if bytes_max is not None and len(keys) > 1:
            sizes = await self._run(self._file.sizes, keys)
            keys = keys[: how_many_fit([sizes.get(key, 0) for key in keys], bytes_max)]
        found = await self._run(self._file.read, keys)
        return [found.get(key) for key in keys]

    async def copy(self) -> Path:
        """A copy beside the file, made by its own connection: commits wait meanwhile. Raises Refused."""
        return await self._run(self._file.copy)

    # -- upkeep --------------------------------------------------------------------------------

    def _tidy_later(self) -> None:
        """After a commit: fold an overgrown log before the next one, and tidy up once nothing is committed."""
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
        """One step on the thread, and the next one if there is more to do and still nothing is committed."""

        def done(step: asyncio.Future[bool]) -> None:
            if self._file.broken:
                self._over.set()
            elif not step.cancelled() and step.result() and not self._closed and self._timer is None:
                self._tidy_if_idle()

        self._run(self._file.upkeep, idle).add_done_callback(done)

    # -- health and end ------------------------------------------------------------------------

    async def health(self) -> Mapping[str, object]:
        """Role, bytes, free pages, room on the volume, seconds of the last commit; `hangs` if the disk does."""
        role = {"role": "leader" if self.epoch and not self._closed else "standby"}
        if not self._closed:
            try:
                self._known = await asyncio.wait_for(asyncio.shield(self._run(self._file.health)), HEALTH_WAIT_S)
            except TimeoutError:
                return {**self._known, **role, "kind": "sqlite", "hangs": True}
        return {**self._known, **role, "kind": "sqlite", "hangs": False}

    async def close(self) -> None:
        """Fold the log into the file and let the lock go, after what is still running."""
        if self._closed:
            return
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        await self._run(self._file.close)
        self._thread.end()
