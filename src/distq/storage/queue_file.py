"""The queue file: open, load, commit, read, and upkeep. Every call blocks, and is made on the store's thread."""

import contextlib
import os
import secrets
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeVar

from distq.core.ports import CommitRefused, CommitUnknown, StoreError
from distq.storage import private, schema
from distq.storage.error_messages import StoreUnusable, check_place, explain, foreign_file, too_new
from distq.storage.reserve import MIB, Reserve, SpaceLimits
from distq.storage.sqlite_connection import BUSY, FULL, TOOBIG, ConnectionPort, SqliteConnection, SqliteError
from distq.storage.wal import Wal
from distq.storage.writes import Writes, counts, reads, sizes

HEADS_RUN: Final = 10_000
COPY: Final = "-copy-"
"""Part of the file name of a copy that a command is fetching."""
VACUUM_PAGES: Final = 256
"""Maximum free pages returned to the volume in one step, which takes a few milliseconds."""
FREE_PAGES_MAX: Final = 16_384
"""Maximum free pages of the file (64 MiB); the store gives more, or more than a quarter of the file, back."""
COMMIT_BYTES: Final = 16 * 1024
"""Approximate bytes that a commit of a few rows adds to the log, whatever the size of the rows."""
KEY_MIN: Final = -(1 << 63)
KEY_MAX: Final = (1 << 63) - 1

Connect = Callable[[Path], ConnectionPort]
T = TypeVar("T")


class Upkeep(NamedTuple):
    """The sizes at which the store copies the log of commits to the file."""

    wal_idle_bytes: int = 1 * MIB
    """Fold the log beyond this size when no commit has come for IDLE_S."""
    wal_bytes_max: int = 16 * MIB
    """Fold the log beyond this size between two commits."""


class QueueFile:
    """One queue file, and its one connection to SQLite."""

    def __init__(
        self, path: Path, space_limits: SpaceLimits, upkeep: Upkeep, connect: Connect = SqliteConnection
    ) -> None:
        self.path = path
        self.broken = ""
        """Why the store refuses all later commits: an error after which the state of the disk is unknown."""
        self.refusing = ""
        """Why new tasks are refused at present."""
        self.commit_s = 0.0
        """Seconds that the last commit took."""
        self.reserve = Reserve(path, space_limits)
        self.overgrown = False
        """Whether the store must copy the log to the file now."""
        self._wal = Wal(path)
        self._unchecked_bytes = 0
        """Approximate bytes added to the log since its size was last read."""
        self._upkeep = upkeep
        self._connect = connect
        self._link: ConnectionPort | None = None

    # -- opening -------------------------------------------------------------------------------

    def open(self) -> bool:
        """Open, check and migrate the file; False while another process holds it.

        Raises:
            StoreError: the file cannot be used; the text says what the operator must do.
        """
        if self.broken:
            raise StoreError(self.broken)
        if self._link is not None:
            return True
        check_place(self.path)
        private.create(self.path)
        private.tighten(self.path)
        try:
            link = self._connect(self.path)
        except SqliteError as exc:
            raise StoreUnusable(explain(self.path, exc)) from exc
        self._link = link
        self.reserve.adopt()
        try:
            self._prepare(link)
        except SqliteError as exc:
            self._drop()
            if exc.primary == BUSY:
                return False
            raise StoreUnusable(explain(self.path, exc)) from exc
        except BaseException:
            self._drop()
            raise
        self.reserve.take()
        for left in self.path.parent.glob(f"{self.path.name}{COPY}*"):
            left.unlink(missing_ok=True)  # an earlier master was killed while a command fetched this copy
        return True

    def _prepare(self, link: ConnectionPort) -> None:
        try:
            self._making_room(lambda: schema.prepare(link, empty=not size_of(self.path)), self.reserve.give_up)
        except schema.ForeignFile:
            raise foreign_file(self.path) from None
        except schema.TooNew as exc:
            raise too_new(self.path, exc.args[0], schema.VERSION) from None

    def _drop(self) -> None:
        link, self._link = self._link, None
        if link is not None:
            with contextlib.suppress(SqliteError):
                link.close()

    def heads(self, first: int) -> list[tuple[int, bytes | None]]:
        """Return at most HEADS_RUN heads from the key `first` on, in the order of keys; none after the last."""
        return self._look("SELECT key, head FROM heads WHERE key >= ? ORDER BY key LIMIT ?", (first, HEADS_RUN))

    def lead(self) -> int:
        """Begin a new epoch on disk, and return its number."""

        def begin() -> int:
            self._run("BEGIN IMMEDIATE")
            self._run("UPDATE counters SET value = value + 1 WHERE name = 'epoch'")
            self._run("COMMIT")
            ((epoch,),) = self._run("SELECT value FROM counters WHERE name = 'epoch'")
            return int(epoch)

        try:
            return self._making_room(begin, self.reserve.give_up)
        except SqliteError as exc:
            raise StoreUnusable(explain(self.path, exc)) from exc

    def raise_epoch(self, epoch: int) -> None:
        """Make the next epoch larger than `epoch`."""
        try:
            self._run("UPDATE counters SET value = max(value, ?) WHERE name = 'epoch'", (epoch,))
        except SqliteError as exc:
            raise StoreUnusable(explain(self.path, exc)) from exc

    # -- commit and read -----------------------------------------------------------------------

    def commit(self, writes: Writes) -> None:
        """Store all writes in one transaction. Raises CommitRefused or CommitUnknown."""
        if self.broken:
            raise CommitUnknown(self.broken)
        started = time.perf_counter()

        def write() -> None:
            self._run("BEGIN IMMEDIATE")
            if writes.amended and self._count(writes.amended) < len(writes.amended):
                raise CommitRefused("the batch keeps the body of a key that is not there")
            for sql, values in writes.statements():
                self._run(sql, values)
            self._run("COMMIT")

        try:
            self._refuse_growth(writes)
            if writes.heads or writes.dropped:
                self._making_room(write, lambda: not self._grows(writes) and self.reserve.give_up())
        except SqliteError as exc:
            raise self._failed(exc) from exc
        except BaseException:
            self._rollback()
            raise
        self.commit_s = time.perf_counter() - started
        self._unchecked_bytes += writes.byte_count + COMMIT_BYTES
        if self._unchecked_bytes > self._upkeep.wal_bytes_max // 16:
            self._unchecked_bytes = 0
            self.overgrown = self._wal.uncopied_bytes() > self._upkeep.wal_bytes_max

    def _failed(self, exc: SqliteError) -> StoreError:
        """Return the error of a commit: nothing is stored, or the outcome is unknown."""
        sentence = explain(self.path, exc)
        if exc.primary in {FULL, TOOBIG}:
            return CommitRefused(sentence, is_general=exc.primary == FULL)
        self._break(sentence)
        return CommitUnknown(sentence)

    def _break(self, sentence: str) -> None:
        """Refuse all later commits: a sync that succeeds after one that failed proves nothing."""
        self.broken = sentence
        if self._link is not None:
            self._link.abandon()

    def _refuse_growth(self, writes: Writes) -> None:
        """Refuse new keys while the volume is nearly full; stored tasks may always be settled."""
        if not writes.bodies:
            return
        wanted_bytes = 2 * writes.byte_count  # in the log, then in the file
        shortage = self._shortage(wanted_bytes)
        if shortage and self._wal.size_bytes() > self._upkeep.wal_idle_bytes:
            self._copy_log()
            shortage = self._shortage(wanted_bytes)
        if shortage and self._grows(writes):
            self.refusing = shortage
            raise CommitRefused(shortage, is_general=True)
        if not shortage:
            self.refusing = ""

    def _grows(self, writes: Writes) -> bool:
        """Whether the writes contain keys that are not stored yet."""
        return self._count(writes.put) < len(writes.put)

    def _shortage(self, wanted_bytes: int) -> str:
        """Return why the volume has no room for `wanted_bytes`, '' if it has."""
        reserve = self.reserve
        reserve.take()
        kept = reserve.limits.free_bytes_min + (0 if reserve.held else reserve.limits.reserve_bytes)
        free = reserve.free_bytes() - self._wal.size_bytes()  # copying makes the file grow before the log is gone
        if reserve.held and free >= kept + wanted_bytes:
            return ""
        free += self._wal.size_bytes() - self._wal.uncopied_bytes()  # read only now: mostly the volume has room enough
        if reserve.held and free >= kept + wanted_bytes:
            return ""
        return (
            f"The volume of {self.path} has {free / MIB:.1f} MiB left, and {kept / MIB:.0f} MiB are kept for "
            "settling the tasks that are there: make room on it."
        )

    def _making_room(self, write: Callable[[], T], give_up: Callable[[], bool]) -> T:
        """Run `write`; on a full volume undo it and run it again, first after `_copy_log`, then after `give_up`."""
        attempts = iter((self._copy_log, give_up))
        while True:
            wal_bytes = self._wal.size_bytes()
            try:
                return write()
            except SqliteError as exc:
                self._rollback()
                if exc.primary == FULL and self._wal.size_bytes() > wal_bytes:
                    # The frames of the failed write, behind all valid ones, may take the very room that is missing.
                    os.truncate(self._wal.path, wal_bytes)
                make_room = next(attempts, None)
                if exc.primary != FULL or make_room is None or not make_room():
                    raise

    def _copy_log(self) -> bool:
        """Fold the log into the file and cut it off to make room, as far as a full volume allows that."""
        try:
            self._cut_off()
        except SqliteError as exc:
            if exc.primary != FULL:
                raise
        return True

    def read(self, keys: Sequence[int]) -> dict[int, bytes]:
        """Return the body of each of `keys` that is stored."""
        found: dict[int, bytes] = {}
        for sql, values in reads(keys):
            found.update(self._look(sql, values))
        return found

    def sizes(self, keys: Sequence[int]) -> dict[int, int]:
        """Return the bytes of the body of each of `keys` that is stored; no body is read for that."""
        found: dict[int, int] = {}
        for sql, values in sizes(keys):
            found.update(self._look(sql, values))
        return found

    def copy(self) -> Path:
        """Write a compact and synced copy beside the file, and return its path. Raises CommitRefused."""
        to = self.path.with_name(f"{self.path.name}{COPY}{secrets.token_hex(4)}")
        wanted_bytes = size_of(self.path) + self._wal.uncopied_bytes() + self.reserve.limits.free_bytes_min
        if self.reserve.free_bytes() < wanted_bytes:
            raise CommitRefused(
                f"A copy of {self.path} needs {wanted_bytes / MIB:.0f} MiB of room beside it, and there is less: make "
                "room on its volume."
            )
        private.create(to)
        try:
            self._look("VACUUM INTO ?", (str(to),))
            with to.open("rb") as copied:
                os.fsync(copied.fileno())
        except BaseException:
            to.unlink(missing_ok=True)
            raise
        return to

    def _count(self, keys: Sequence[object]) -> int:
        return sum(self._run(sql, values)[0][0] for sql, values in counts(keys))

    def _run(self, sql: str, values: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        assert self._link is not None
        return self._link.run(sql, values)

    def _look(self, sql: str, values: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """Return the rows of a statement that only reads. Raises StoreError."""
        if self.broken or self._link is None:
            raise StoreError(self.broken or f"{self.path} is closed")
        try:
            return self._link.run(sql, values)
        except SqliteError as exc:
            raise StoreError(explain(self.path, exc)) from exc

    def _rollback(self) -> None:
        """Undo the transaction; after some errors SQLite has done so itself."""
        with contextlib.suppress(SqliteError):
            self._run("ROLLBACK")

    # -- upkeep --------------------------------------------------------------------------------

    def upkeep(self, idle: bool) -> bool:
        """Do one short step that keeps the file small, between two commits; return whether more is to do.

        A full volume only delays it; after any other error the store refuses all later commits.
        """
        if self.broken or self._link is None:
            return False
        try:
            if self._wasteful():
                self._run(f"PRAGMA incremental_vacuum({VACUUM_PAGES})")
                more = idle and self._wasteful()
                if idle and not more:
                    self._cut_off()  # only now does the file shrink
                    return False
            else:
                more = False
            if self.overgrown or (idle and self._wal.uncopied_bytes() > self._upkeep.wal_idle_bytes):
                self._checkpoint()
        except SqliteError as exc:
            if exc.primary != FULL:
                self._break(explain(self.path, exc))
            return False
        return more

    def _wasteful(self) -> bool:
        free, pages = self.pages()
        return free > FREE_PAGES_MAX or free * 4 > pages

    def pages(self) -> tuple[int, int]:
        """Return the number of free pages, and of all pages."""
        ((free,),) = self._run("PRAGMA freelist_count")
        ((pages,),) = self._run("PRAGMA page_count")
        return free, pages

    def _checkpoint(self) -> None:
        """Fold the log into the file, and keep its blocks for the next commits."""
        self.overgrown = False
        ((_, frames, copied),) = self._run("PRAGMA wal_checkpoint(PASSIVE)")
        if frames == copied:
            self._wal.note_all_copied()

    def _cut_off(self) -> None:
        """Fold the log into the file, and give its blocks back to the volume."""
        self.overgrown = False
        self._run("PRAGMA wal_checkpoint(TRUNCATE)")

    # -- health and end ------------------------------------------------------------------------

    def health(self) -> dict[str, object]:
        """Return figures of the file and its volume, in bytes, pages and seconds."""
        if self.refusing and self._link is not None and not self._shortage(0):
            self.refusing = ""
        facts: dict[str, object] = {
            "kind": "sqlite",
            "file": str(self.path),
            "bytes": size_of(self.path),
            "wal_bytes": self._wal.size_bytes(),
            "free_bytes": self.reserve.free_bytes(),
            "reserve_held": self.reserve.held,
            "refusing": self.refusing,
            "broken": self.broken,
            "commit_s": self.commit_s,
        }
        if self._link is not None:
            facts["sqlite_version"] = self._link.version
            if not self.broken:
                with contextlib.suppress(SqliteError):  # the next commit reports the error
                    facts["free_pages"], facts["pages"] = self.pages()
        return facts

    def close(self) -> None:
        """Fold the log into the file and close it; the connection to a broken file was abandoned already."""
        if self._link is None or self.broken:
            return
        with contextlib.suppress(SqliteError):  # a full volume: the log stays and is read at the next start
            self._cut_off()
        self._drop()


def size_of(path: Path) -> int:
    """Return the bytes of a file, 0 if it does not exist."""
    try:
        return path.stat().st_size
    except OSError:
        return 0
