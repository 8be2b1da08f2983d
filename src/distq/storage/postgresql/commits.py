"""The session that loads, commits and reads. Every call blocks, and is made on the store's thread."""

import time
from collections.abc import Sequence
from typing import Any, Final

from distq.core.ports import CommitRefused, CommitUnknown, Fenced, StoreError
from distq.storage.postgresql import tables
from distq.storage.postgresql.arrays import byte_strings, integer, integers
from distq.storage.postgresql.errors import DISK_FULL, LOCK_TIMEOUT, ServerError, explain, outcome, unusable
from distq.storage.postgresql.session import Access, DatabaseSession
from distq.storage.postgresql.tables import Statements, int_of
from distq.storage.writes import Writes

LOCK_WAIT: Final = "500ms"
"""How long a new leader waits for the cluster's row before it ends the commit session of the earlier leader."""


class Commits:
    """The session of one leader."""

    def __init__(self, access: Access) -> None:
        self.broken: StoreError | None = None
        """Why all later commits fail."""
        self.refusing = ""
        """Why the last commit was refused, if the database's volume is full."""
        self.refused_at = 0.0
        """When the last commit was refused for want of room, in seconds of `time.perf_counter`."""
        self.commit_s = 0.0
        """Seconds that the last commit took."""
        self._access = access
        self._place = access.target.shown
        self._session: DatabaseSession | None = None
        self._statements: Statements | None = None
        self._epoch = 0
        self._number = 0
        """The number of the newest row in the log of changes, while this master leads."""

    # -- leadership ----------------------------------------------------------------------------

    def lead(self, statements: Statements, address: str) -> int | None:
        """Begin a new epoch, after which no earlier leader commits; None if an earlier leader's commit is in the way.

        Such a commit may wait for a standby for ever, although its master has gone. The next call finds the row free.

        Raises:
            Unreachable: there is no connection.
            StoreError: the database cannot be used; the text says what the operator must do.
        """
        try:
            session, self._statements = self._connected(), statements
            session.rename("commit")
            session.run(f"SET lock_timeout = '{LOCK_WAIT}'")
            ((epoch,),) = session.run(statements.text(tables.LEAD), (address.encode(),))
            if session.warning:
                return None  # stored on this server only
            session.run("SET lock_timeout = 0")
            self._epoch = int_of(epoch)
            ((number,),) = session.run(statements.text(tables.BEGIN_CHANGES, self._epoch))
            self._number = int_of(number)
            self._prepare(session)
        except ServerError as exc:
            if exc.sqlstate == LOCK_TIMEOUT:
                self._end_abandoned()
                return None
            self.close()
            if exc.ends_the_session:
                return None
            raise unusable(self._place, exc) from None
        return self._epoch

    def _prepare(self, session: DatabaseSession) -> None:
        assert self._statements is not None
        session.prepare("commit", self._statements.text(tables.COMMIT, self._epoch))

    def _connected(self, use: str = "commit") -> DatabaseSession:
        if self._session is None or self._session.ended:
            fresh = DatabaseSession(self._access, use)
            self.close()
            self._session = fresh
        return self._session

    def _end_abandoned(self) -> None:
        assert self._session is not None
        name = self._access.target.session_name("commit")
        try:
            self._session.run(tables.END_ABANDONED, (name.encode(),))
            self.close()  # a standby that counts the sessions that commit must not find one here
        except ServerError as exc:
            raise unusable(self._place, exc) from None

    def following(self, statements: Statements) -> DatabaseSession:
        """Return the session for following another leader; this master begins its epoch on the same one.

        Raises:
            Unreachable: there is no connection.
            ServerError: the server rejects the settings.
        """
        self._statements = statements
        return self._connected("follow")

    # -- commit and read -----------------------------------------------------------------------

    def commit(self, writes: Writes) -> None:
        """Store all writes in one statement. Raises CommitRefused, Fenced or CommitUnknown."""
        if self.broken is not None:
            raise type(self.broken)(str(self.broken))
        assert self._session is not None
        values = (*parameters(writes), integer(self._number + 1))
        started = time.perf_counter()
        try:
            ((fence, allowed),) = self._session.run_prepared("commit", values)
        except ServerError as exc:
            raise self._failed(exc) from None
        if self._session.warning:
            raise self._break(
                CommitUnknown(
                    f"The database of {self._place} has stored the commit on one server only: {self._session.warning}."
                )
            )
        if not int_of(fence):
            raise self._break(
                Fenced(f"Another master leads the cluster of {self._place}; this one led in epoch {self._epoch}.")
            )
        if not int_of(allowed):
            raise CommitRefused("the batch keeps the body of a key that is not there")
        self._number += 1
        self.refusing = ""
        self.commit_s = time.perf_counter() - started

    def _failed(self, exc: ServerError) -> StoreError:
        found = outcome(self._place, exc)
        if not isinstance(found, CommitRefused):
            return self._break(found)
        if exc.sqlstate == DISK_FULL:
            self.refusing, self.refused_at = str(found), time.perf_counter()
        return found

    def _break(self, reason: StoreError) -> StoreError:
        self.broken = reason
        return reason

    def lose(self, reason: str) -> None:
        """Fail all later commits, because another master leads."""
        if self.broken is None:
            self.broken = Fenced(reason)

    def read(self, keys: Sequence[int]) -> dict[int, bytes]:
        """Return the body of each of `keys` that is stored."""
        return {int_of(key): body or b"" for key, body in self._read(tables.BODIES, (integers(keys),))}

    def sizes(self, keys: Sequence[int]) -> dict[int, int]:
        """Return the bytes of the body of each of `keys` that is stored; no body is read for that."""
        return {int_of(key): int_of(size) for key, size in self._read(tables.SIZES, (integers(keys),))}

    def _read(self, sql: str, values: Sequence[bytes]) -> list[tuple[bytes | None, ...]]:
        if self._session is None or self._statements is None:
            raise StoreError(f"The store {self._place} is closed.")
        try:
            return self._session.run(self._statements.text(sql), values)
        except ServerError as exc:
            raise StoreError(explain(self._place, exc)) from None

    @property
    def number(self) -> int:
        """The number of the newest commit in the log of changes, 0 before this master leads."""
        return self._number

    # -- end -----------------------------------------------------------------------------------

    def check(self) -> None:
        """Open a new session if the present one has ended between two commits; the epoch still fences.

        Raises:
            Unreachable: there is no connection.
            ServerError: the server reports another error.
        """
        if self._session is None or self.broken is not None:
            return
        try:
            self._session.run("SELECT")
        except ServerError as exc:
            if not exc.ends_the_session:
                raise
            self._prepare(self._connected())

    def close(self) -> None:
        """End the session."""
        session, self._session = self._session, None
        if session is not None:
            session.close()


def parameters(writes: Writes) -> tuple[bytes, ...]:
    """Return the arrays of the commit's statement: amended keys and heads; put keys, heads and bodies; dropped keys."""
    heads: dict[Any, Any] = dict(zip(writes.heads[::2], writes.heads[1::2], strict=True))
    put: list[Any] = writes.put
    bodies: list[Any] = writes.bodies[1::2]
    return (
        integers(writes.amended),
        byte_strings([heads[key] for key in writes.amended]),
        integers(put),
        byte_strings([heads[key] for key in put]),
        byte_strings(bodies),
        integers(writes.dropped),
    )
