"""Becomes and stays the leader of a cluster: an advisory lock, the leader's lease, the epoch, and the session of these.

The lock and the lease decide which master begins an epoch, and when. What protects the rows is the epoch, which every
commit checks: a lock can be lost while its master still works, for example when the database fails over.

No clock of another machine is read: the leader counts a number up, and a standby measures by its own clock for how long
that number has not changed.
"""

import os
import time
from typing import Final, NamedTuple

import psycopg

from distq.storage.error_messages import StoreUnusable
from distq.storage.postgresql import tables
from distq.storage.postgresql.arrays import integer
from distq.storage.postgresql.errors import ServerError, Unreachable, explain
from distq.storage.postgresql.leader_process import has_ended
from distq.storage.postgresql.session import Access, DatabaseSession
from distq.storage.postgresql.tables import Statements, int_of

TERMINATE_AFTER_S: Final = 0.2
"""Seconds after the end of a leader's lease before another master ends its session: the master that holds the lock
already has that time to begin its epoch."""


class Look(NamedTuple):
    """The rows of the cluster and of its leader's lease."""

    epoch: int
    leader: str
    beat: int
    """Grows with each renewal of the lease."""
    lease_s: float
    """How long a leader may answer after its last renewal; 0 if the leader, of an older release, has no lease."""
    released: bool
    """Whether the leader has ended its lease itself."""
    same_server: bool
    """Whether the server has not been started since the last renewal."""


class StoreFigures(NamedTuple):
    """What `health` reports of the database."""

    epoch: int
    leader: str
    table_bytes: int
    standbys: int
    """Number of the other masters that are connected to the database."""
    server_version: str


class Leadership:
    """Holds the lock on a session of its own, which ends with the process, whatever a commit waits for.

    The methods block and are called on one thread. `led_epoch` is the epoch in which this process led before, and whose
    end it need not wait for.
    """

    def __init__(self, access: Access, led_epoch: int = 0) -> None:
        self.access = access
        self.statements: Statements | None = None
        self.looked: Look | None = None
        """The newest look at the rows, as `take` found them."""
        self.is_rung = False
        """Whether a leader has perhaps ended its lease since the last look."""
        self._led_epoch = led_epoch
        self._session: DatabaseSession | None = None
        self._is_locked = False
        self._changed_at = 0.0
        """When `take` found another epoch or beat than before, or connected; seconds of `time.perf_counter`."""

    def take(self, own_address: str = "") -> bool:
        """Connect, prepare the tables and try to take the lock; True if this master may begin an epoch now.

        Args:
            own_address: where this master listens; a leader of that address has ended.

        Raises:
            Unreachable: there is no connection.
            StoreUnusable: the database cannot be used; the text says what the operator must do.
        """
        try:
            session = self._connected()
            if self.statements is None:
                self.statements = tables.prepare_tables(session, self.access.target)
            return self._may_lead(session, self.statements, own_address)
        except ServerError as exc:
            self.close()
            text = explain(self.access.target.shown, exc)
            raise (Unreachable(text, permanent=False) if exc.ends_the_session else StoreUnusable(text)) from None

    def _may_lead(self, session: DatabaseSession, statements: Statements, own_address: str) -> bool:
        look = self._look(session, statements)
        self.is_rung = session.take_notifications()  # perhaps of a leader that has ended its lease since the look
        now = time.perf_counter()
        if self.looked is None or (look.epoch, look.beat) != (self.looked.epoch, self.looked.beat):
            self._changed_at = now
            if self._is_locked and not look.released:  # the leader still works, without its lock
                self._unlock(session)
        self.looked = look
        lease_over_s = now - self._changed_at - look.lease_s if look.lease_s else -1.0
        if not self._is_locked and not self._try_lock(session):
            if lease_over_s > TERMINATE_AFTER_S:
                session.run(tables.END_LOCK_HOLDER, (integer(self.access.target.lock),))
            return False
        if look.released or look.epoch == self._led_epoch or not look.lease_s or lease_over_s >= 0:
            return True
        # At an address of its own this master would ask itself: it has been started in the leader's place.
        has_lost_sessions = look.same_server and not self._has_committer(session)
        if has_lost_sessions and (look.leader == own_address or has_ended(look.leader)):
            return True
        self._unlock(session)  # the master of that epoch need not wait for the lease, but for the lock
        return False

    def _has_committer(self, session: DatabaseSession) -> bool:
        """Whether a leader has a session that commits: a master that is killed loses both of its sessions.

        A master that lives may lose both too, so that its process is asked as well.
        """
        name = self.access.target.session_name("commit").encode()
        ((count,),) = session.run(tables.COUNT_OTHERS, (name,))
        return bool(int_of(count))

    def renew(self, epoch: int, lease_s: float) -> int | None:
        """Renew the lease of this epoch, and take the lock again if it is free; None if another epoch has begun.

        Returns the beat.

        Raises:
            Unreachable: there is no connection.
            ServerError: the server reports an error.
        """
        assert self.statements is not None
        values = (integer(epoch), integer(round(lease_s * 1000)))
        try:
            session = self._connected()
            if not self._is_locked:
                self._try_lock(session)
            beats = session.run(self.statements.text(tables.RENEW), values)
        except ServerError:
            self.close()
            raise
        if not beats and self._is_locked:
            self._unlock(session)
        return int_of(beats[0][0]) if beats else None

    def release(self, epoch: int) -> None:
        """End the lease of this epoch, so that a standby leads without waiting; raises as `renew` does."""
        assert self.statements is not None
        session = self._connected()
        session.run(self.statements.text(tables.RELEASE), (integer(epoch),))
        self._unlock(session)
        session.run(f"NOTIFY {self.access.target.channel}")

    @property
    def cause(self) -> str:
        """Why this master may lead, as `take` found it: handover, takeover, or '' if no master has led before."""
        if self.looked is None or not self.looked.epoch:
            return ""
        return "handover" if self.looked.released else "takeover"

    @property
    def bell(self) -> int | None:
        """A copy of the descriptor that is readable when a leader has ended its lease, or when the session has ended.

        The caller closes it; None without a connection.
        """
        session = self._session
        if session is None or session.ended:
            return None
        try:
            return os.dup(session.descriptor)
        except (psycopg.Error, OSError):
            return None  # its thread has just closed it

    def figures(self, trim_below: int) -> StoreFigures:
        """Read the cluster's row and the figures, and delete older rows of the log of changes; raises as `renew`."""
        assert self.statements is not None
        try:
            session = self._connected()
            if not self._is_locked:
                self._try_lock(session)
            session.run(self.statements.text(tables.TRIM_CHANGES), (integer(trim_below),))
            name = self.access.target.session_name("lock").encode()
            ((epoch, leader, table_bytes, standbys),) = session.run(self.statements.text(tables.FIGURES), (name,))
        except ServerError:
            self.close()
            raise
        return StoreFigures(
            int_of(epoch), (leader or b"").decode(), int_of(table_bytes), int_of(standbys), session.server_version
        )

    def close(self) -> None:
        """End the session, which releases the lock."""
        session, self._session = self._session, None
        self.looked, self._is_locked = None, False
        if session is not None:
            session.close()

    def _connected(self) -> DatabaseSession:
        if self._session is not None and self._session.ended:
            self.close()
        if self._session is None:
            try:
                session = DatabaseSession(self.access, "lock")
                # A renewal must not wait for a synchronous standby, and need not survive a crash of the server.
                session.run("SET synchronous_commit = off")
                session.run(f"LISTEN {self.access.target.channel}")
            except ServerError as exc:
                raise Unreachable(explain(self.access.target.shown, exc), permanent=True) from None
            self._session = session
        return self._session

    def _look(self, session: DatabaseSession, statements: Statements) -> Look:
        ((epoch, leader, beat, lease_ms, released, same_server),) = session.run(statements.text(tables.READ_LEADER))
        return Look(
            int_of(epoch),
            (leader or b"").decode(),
            int_of(beat),
            int_of(lease_ms) / 1000,
            bool(int_of(released)),
            bool(int_of(same_server)),
        )

    def _try_lock(self, session: DatabaseSession) -> bool:
        ((taken,),) = session.run(tables.LOCK, (integer(self.access.target.lock),))
        self._is_locked = bool(int_of(taken))
        return self._is_locked

    def _unlock(self, session: DatabaseSession) -> None:
        session.run(tables.UNLOCK, (integer(self.access.target.lock),))
        self._is_locked = False
