"""Becomes and stays the leader of a cluster: an advisory lock, the epoch, and the session that watches both.

The advisory lock only keeps a second master waiting. What protects the rows is the epoch, which every commit checks:
a lock can be lost while its master still works, for example when the database fails over.
"""

from typing import NamedTuple

from distq.storage.error_messages import StoreUnusable
from distq.storage.postgresql import tables
from distq.storage.postgresql.arrays import integer
from distq.storage.postgresql.errors import ServerError, Unreachable, explain
from distq.storage.postgresql.session import Access, DatabaseSession
from distq.storage.postgresql.tables import Statements, int_of


class Look(NamedTuple):
    """The cluster's row and the size of the tables, as the last look found them."""

    epoch: int
    leader: str
    table_bytes: int
    server_version: str


class Leadership:
    """Holds the lock on a session of its own, which ends with the process, whatever a commit waits for.

    The methods block and are called on one thread.
    """

    def __init__(self, access: Access) -> None:
        self.access = access
        self.statements: Statements | None = None
        self._session: DatabaseSession | None = None

    def take(self) -> bool:
        """Connect, prepare the tables and try to take the lock; False while another master has it.

        Raises:
            Unreachable: there is no connection.
            StoreUnusable: the database cannot be used; the text says what the operator must do.
        """
        try:
            session = self._connected()
            if self.statements is None:
                self.statements = tables.prepare_tables(session, self.access.target)
            return self._try_lock(session)
        except ServerError as exc:
            self.close()
            text = explain(self.access.target.shown, exc)
            raise (Unreachable(text, permanent=False) if exc.ends_the_session else StoreUnusable(text)) from None

    def look(self) -> Look:
        """Read the cluster's row; a session that has ended is opened again, and takes the lock again if it is free.

        Raises:
            Unreachable: there is no connection.
            ServerError: the server reports an error.
        """
        assert self.statements is not None
        was_ended = self._session is None or self._session.ended
        try:
            session = self._connected()
            if was_ended:
                self._try_lock(session)
            ((epoch, leader, table_bytes),) = session.run(self.statements.text(tables.READ_LEADER))
        except ServerError:
            self.close()
            raise
        return Look(int_of(epoch), (leader or b"").decode(), int_of(table_bytes), session.server_version)

    def close(self) -> None:
        """End the session, which releases the lock."""
        session, self._session = self._session, None
        if session is not None:
            session.close()

    def _connected(self) -> DatabaseSession:
        if self._session is not None and self._session.ended:
            self.close()
        if self._session is None:
            try:
                self._session = DatabaseSession(self.access, "lock")
            except ServerError as exc:
                raise Unreachable(explain(self.access.target.shown, exc), permanent=True) from None
        return self._session

    def _try_lock(self, session: DatabaseSession) -> bool:
        ((taken,),) = session.run(tables.LOCK, (integer(self.access.target.lock),))
        return bool(int_of(taken))
