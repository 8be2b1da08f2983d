"""The store in a PostgreSQL database: a row for each task, one statement a commit, an epoch that fences."""

import asyncio
import os
import time
from collections import deque
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from distq.core.payload_cache import how_many_fit
from distq.core.ports import FORGET, Batch, CommitRefused, CommitUnknown, Fenced, Heads, StoreError, StoreLimits
from distq.storage.error_messages import StoreUnusable
from distq.storage.postgresql.commits import Commits
from distq.storage.postgresql.errors import ServerError, Unreachable, explain
from distq.storage.postgresql.following import LogReader
from distq.storage.postgresql.leadership import Leadership, StoreFigures
from distq.storage.postgresql.session import Access
from distq.storage.postgresql.tables import Statements
from distq.storage.postgresql.target import parse_target
from distq.storage.reserve import MIB
from distq.storage.thread import StoreThread
from distq.storage.writes import gather

LIMITS: Final = StoreLimits(body_bytes_max=256 * MIB, batch_bytes_max=512 * MIB, batch_changes_max=1_000_000)
"""Limits of one batch and of one body; the server itself accepts statements below 1 GiB."""
POLL_S: Final = 0.1
"""Seconds between two attempts of a waiting master to take the lock, or to connect; it then reads what has changed."""
CHANGES_KEPT_S: Final = 30.0
"""Seconds for which the leader keeps the log of changes: a standby that does not read it for longer begins again."""
LEASE_MARGIN: Final = 0.1
"""Part of the lease by which a leader stops answering early: the clocks of two machines do not run equally fast."""
RENEWALS_PER_LEASE: Final = 3
RENEW_AGAIN_S: Final = 0.2
"""Seconds between two attempts to renew the lease while the database does not answer."""
PATIENCE_S: Final = 5.0
"""Seconds for which the store repeats a connection that a running server rejects: it may be failing over."""
HEALTH_WAIT_S: Final = 0.5
"""Maximum seconds that `health` waits for a database that does not answer; then it returns the previous figures."""
CLOSE_WAIT_S: Final = 2.0
"""Maximum seconds that `close` waits for a commit; the process may end while the database does not answer."""
REFUSING_S: Final = 10.0
"""Seconds after a refusal for which `health` reports it, unless a commit succeeds: then new tasks may try again."""


class PostgresStore:
    """A store that keeps every batch that it has confirmed; the database may replicate it.

    One session commits, on a thread that finishes each call that it has begun: a commit that waits for a synchronous
    standby is never cancelled. Another session holds the lock of the leader and answers `health`.
    """

    def __init__(
        self,
        url: str,
        secrets: Mapping[str, str],
        password_file: Path | None,
        lease_s: float,
        led_epoch: int = 0,
    ) -> None:
        """Read the URL, without connecting; `led_epoch` is the last epoch of this process. Raises StoreUnusable."""
        self.limits = LIMITS
        self.epoch = 0
        self.leader = ""
        self.waiting = ""
        self.cause = ""
        """Why this master leads: `handover` if the earlier leader gave its leadership back, else `takeover`; '' for the
        first leader."""
        self.standbys = 0
        """Number of other masters that were connected to the database at the last look."""
        access = Access(parse_target(url), secrets, password_file)
        self._place = access.target.shown
        self._schema = access.target.schema
        self._commits = Commits(access)
        self._leadership = Leadership(access, led_epoch)
        self._log_reader = LogReader()
        self._complete_at = time.perf_counter()
        """When the follower knew all heads, in seconds of `time.perf_counter`; before, when it was made."""
        self._begun_epoch = 0
        self._trim_marks: deque[tuple[float, int]] = deque()
        """The number of the newest commit at earlier looks, with their times in seconds of `time.perf_counter`."""
        self._lease_s = lease_s
        self._lease_until = 0.0
        """When this master must stop answering, in seconds of `time.perf_counter`."""
        self._lease_end: asyncio.TimerHandle | None = None
        self._renewing: asyncio.Task[None] | None = None
        self._thread = StoreThread("distq-store")
        self._watch = StoreThread("distq-store-lock")
        self._over = asyncio.Event()
        self._closed = False
        self._known: Mapping[str, object] = {"database": self._place}

    # -- leadership ----------------------------------------------------------------------------

    async def follow(self, address: str) -> AsyncIterator[Heads]:
        """Yield all heads, then those that change, until this master has begun an epoch and knows all heads.

        A database that does not answer is waited for. After the epoch has begun no earlier leader stores anything, and
        one that still waits for the end of a commit is ended before the last heads are read.

        Raises:
            StoreError: the database cannot be used; the text says what the operator must do.
        """
        if self._commits.broken is not None:
            raise StoreError(str(self._commits.broken))
        async for heads in self._stand_by(address):
            yield heads
        self.waiting = ""
        while True:
            try:
                heads = await self._follow_on()
            except ServerError as exc:
                raise StoreError(explain(self._place, exc)) from None
            if not heads and heads is not FORGET:
                break
            yield heads
        self.epoch = self._begun_epoch
        self.leader = address

    async def _stand_by(self, address: str) -> AsyncIterator[Heads]:
        """Yield the heads that other masters store, until this one has begun an epoch."""
        rejected_since: float | None = None
        while True:
            if self._closed:
                raise StoreError(f"The store {self._place} is closed.")
            try:
                if (epoch := await self._try_to_lead(address)) is not None:
                    self._begun_epoch = epoch
                    return
                rejected_since = None
                while (heads := await self._follow_on()) or heads is FORGET:
                    yield heads
                    if self._log_reader.is_complete:
                        break
            except Unreachable as exc:
                rejected_since = self._unreachable(exc, rejected_since)
            except ServerError as exc:
                self.waiting = explain(self._place, exc)
            await self._bell(POLL_S)

    def _unreachable(self, exc: Unreachable, rejected_since: float | None) -> float | None:
        """Note an error, and return since when the server rejects connections; raises StoreUnusable in the end."""
        self.waiting = str(exc)
        now = time.perf_counter()
        if not exc.permanent:
            return None
        if rejected_since is not None and now - rejected_since >= PATIENCE_S:
            raise StoreUnusable(str(exc)) from None
        return now if rejected_since is None else rejected_since

    async def _follow_on(self) -> Heads:
        """Return the next heads, as `LogReader.step` does; raises ServerError or Unreachable."""
        statements = self._leadership.statements
        if statements is None:
            return ()
        asked_at = time.perf_counter()
        heads = await self._thread.run(self._next_heads, statements)
        if self._log_reader.is_complete:
            self._complete_at = asked_at
        return heads

    def _next_heads(self, statements: Statements) -> Heads:
        return self._log_reader.step(self._commits.following(statements), statements)

    async def _bell(self, timeout_s: float) -> None:
        """Wait until a leader has ended its lease, or for `timeout_s`: the bell may be lost."""
        if not self._leadership.is_rung:
            await self._heard(timeout_s)

    async def _heard(self, timeout_s: float) -> None:
        """Wait until something has come on the session of the lock, or its end, or for `timeout_s`."""
        descriptor = self._leadership.bell
        if descriptor is None:
            await asyncio.sleep(timeout_s)
            return
        loop = asyncio.get_running_loop()
        heard = asyncio.Event()
        loop.add_reader(descriptor, heard.set)
        try:
            async with asyncio.timeout(timeout_s):
                await heard.wait()
        except TimeoutError:
            pass
        finally:
            loop.remove_reader(descriptor)
            os.close(descriptor)

    @property
    def lag_s(self) -> float:
        """How long ago this standby knew all heads; if it never did, since it was made."""
        return time.perf_counter() - self._complete_at

    async def _try_to_lead(self, address: str) -> int | None:
        """Begin an epoch if this master may, and return it; raises as `Leadership.take` and `Leadership.renew` do."""
        if await self._watch.run(self._leadership.take, address):
            statements, self.cause = self._leadership.statements, self._leadership.cause
            assert statements is not None
            epoch = await self._thread.run(self._commits.lead, statements, address)
            if epoch is not None and await self._begin_lease(epoch):
                return epoch
            self.waiting = "a commit of the earlier leader has not ended"
        elif (looked := self._leadership.looked) is not None:
            self.leader = looked.leader
            self.waiting = f"the master at {looked.leader or 'another address'} leads this cluster"
        return None

    async def _begin_lease(self, epoch: int) -> bool:
        """Begin the lease of a new epoch, and renew it until `close`; False if another epoch has begun meanwhile."""
        before = self._leadership.looked
        asked_at = time.perf_counter()
        beat = await self._watch.run(self._leadership.renew, epoch, self._lease_s)
        if beat is None:
            return False
        if before is not None and before.lease_s and beat != before.beat + 1:
            # The earlier leader was thawed, and has renewed its lease at the last instant.
            await asyncio.sleep(before.lease_s)
            asked_at = time.perf_counter()
            if await self._watch.run(self._leadership.renew, epoch, self._lease_s) is None:
                return False
        self._extend_lease(asked_at)
        self._renewing = asyncio.create_task(self._renew_lease(epoch), name="distq-lease")
        return True

    async def _renew_lease(self, epoch: int) -> None:
        while True:
            await self._heard(self._lease_s / RENEWALS_PER_LEASE)
            asked_at, pause_s = time.perf_counter(), 0.0
            while (renewed := await self._renewed(epoch)) is None:
                await asyncio.sleep(pause_s)  # a session that was ended alone is replaced at once
                asked_at, pause_s = time.perf_counter(), min(RENEW_AGAIN_S, self._lease_s / RENEWALS_PER_LEASE)
            if pause_s:
                self._thread.run(self._commits.check).add_done_callback(_look_failed)  # the other may have ended too
            if not renewed:
                self._lose(f"Another master leads the cluster of {self._place} now.")
                return
            self._extend_lease(asked_at)

    async def _renewed(self, epoch: int) -> bool | None:
        """Whether the lease is renewed; None if the database does not answer."""
        try:
            return await self._watch.run(self._leadership.renew, epoch, self._lease_s) is not None
        except (ServerError, StoreError):
            return None

    def _extend_lease(self, asked_at: float) -> None:
        """Note that the lease was renewed by a statement that was sent at `asked_at`."""
        self._lease_until = asked_at + self._lease_s * (1 - LEASE_MARGIN)
        if self._lease_end is not None:
            self._lease_end.cancel()
        loop = asyncio.get_running_loop()
        self._lease_end = loop.call_later(self._lease_until - time.perf_counter(), self.check_lease)

    def check_lease(self) -> bool:
        """Whether this process may answer as the leader; if not, `lost` returns."""
        if time.perf_counter() < self._lease_until and self._commits.broken is None:
            return True
        self._lose(f"The database of {self._place} has not renewed the lease of {self._lease_s:g} s.")
        return False

    def _lose(self, reason: str) -> None:
        self._lease_until = 0.0
        self._commits.lose(reason)
        self._over.set()

    async def lost(self) -> str:
        """Wait until another master leads or the outcome of a commit is unknown; return which."""
        await self._over.wait()
        return str(self._commits.broken)

    # -- commit and read -----------------------------------------------------------------------

    async def commit(self, batch: Batch) -> None:
        """Store the batch in one transaction, durable when this returns.

        Raises:
            CommitRefused, Fenced, CommitUnknown: `errors.outcome` says which error of the server means which.
        """
        if not self.epoch or self._closed:
            raise CommitRefused("nothing is stored before follow() has ended or after close()", is_general=True)
        writes = gather(batch, self.limits)
        try:
            await self._thread.run(self._commits.commit, writes)
        except (CommitUnknown, Fenced):
            self._over.set()
            raise

    async def read(self, keys: Sequence[int], bytes_max: int | None = None) -> list[bytes | None]:
        """Return the bodies of `keys`; with `bytes_max`, of as many of the first keys as fit, at least one.

        Raises:
            StoreError: the database does not answer.
        """
        if not keys:
            return []
        if bytes_max is not None and len(keys) > 1:
            sizes = await self._thread.run(self._commits.sizes, keys)
            keys = keys[: how_many_fit([sizes.get(key, 0) for key in keys], bytes_max)]
        found = await self._thread.run(self._commits.read, keys)
        return [found.get(key) for key in keys]

    async def copy(self) -> Path:
        """Raise CommitRefused: there is no file to copy."""
        raise CommitRefused(
            f"The store is a PostgreSQL database, which its own tools back up: `pg_dump --schema={self._schema}`, or a "
            "base backup with an archive of its log."
        )

    # -- health and end ------------------------------------------------------------------------

    async def health(self) -> Mapping[str, object]:
        """Return the store's role and figures; `not_answering` says why the database does not answer, '' if it does.

        An answer with another epoch ends the leadership.
        """
        commits = self._commits
        if commits.refusing and time.perf_counter() - commits.refused_at > REFUSING_S:
            commits.refusing = ""
        not_answering = ""
        if self.epoch and not self._closed:
            waiting = asyncio.gather(self._thread.run(commits.check), self._figures())
            try:
                _, figures = await asyncio.wait_for(asyncio.shield(waiting), HEALTH_WAIT_S)
            except TimeoutError:
                not_answering = f"The database of {self._place} does not answer."
                waiting.add_done_callback(_look_failed)
            except ServerError as exc:
                not_answering = explain(self._place, exc)
            except StoreError as exc:
                not_answering = str(exc)
            else:
                self._looked(figures)
        return {
            **self._known,
            "kind": "postgresql",
            "role": "leader" if self.epoch and not self._closed and commits.broken is None else "standby",
            "refusing": commits.refusing,
            "broken": str(commits.broken or ""),
            "commit_s": commits.commit_s,
            "hangs": bool(not_answering),
            "not_answering": not_answering,
        }

    def _figures(self) -> "asyncio.Future[StoreFigures]":
        now, marks = time.perf_counter(), self._trim_marks
        marks.append((now, self._commits.number))
        while len(marks) > 1 and marks[1][0] <= now - CHANGES_KEPT_S:
            marks.popleft()
        below = marks[0][1] if marks[0][0] <= now - CHANGES_KEPT_S else 0
        return self._watch.run(self._leadership.figures, below)

    def _looked(self, figures: StoreFigures) -> None:
        self._known = {
            "database": self._place,
            "bytes": figures.table_bytes,
            "server_version": figures.server_version,
            "standbys": figures.standbys,
        }
        self.standbys = figures.standbys
        if figures.epoch != self.epoch:
            self.leader = figures.leader
            self._lose(f"The master at {figures.leader} leads the cluster of {self._place} now.")

    async def close(self) -> None:
        """End both sessions, after all earlier calls have ended or after CLOSE_WAIT_S."""
        if self._closed:
            return
        self._closed = True
        self._lease_until = 0.0
        if self._lease_end is not None:
            self._lease_end.cancel()
        if self._renewing is not None:
            self._renewing.cancel()
        for thread, close in ((self._thread, self._commits.close), (self._watch, self._release)):
            ending = thread.run(close)
            await asyncio.wait((ending,), timeout=CLOSE_WAIT_S)
            thread.end()

    def _release(self) -> None:
        """End the lease, unless another master leads already, and the session."""
        if self.epoch and not isinstance(self._commits.broken, Fenced):
            with suppress(ServerError, StoreError):
                self._leadership.release(self.epoch)
        self._leadership.close()


def _look_failed(looking: "asyncio.Future[Any]") -> None:
    """Retrieve the error of a look that came too late: the next look meets it again."""
    if not looking.cancelled():
        looking.exception()
