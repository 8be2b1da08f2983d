"""Reads all heads, and then the heads of the keys that the leader's commits change. Every call blocks.

Each commit adds its keys to a log, in the same statement. The numbers of the log's rows have no gap, and each epoch
begins with a row of its own. So a reader that has read every number has missed no change: not one of a leader in
between, and not one of a database that has failed over, because the session ends with it. A reader that has missed
one, or whose session has ended, begins again. The heads are read later than the keys, and are thus as new or newer.
"""

from typing import Final

from distq.core.ports import FORGET, Heads
from distq.storage.postgresql import tables
from distq.storage.postgresql.arrays import integer, integers, integers_of
from distq.storage.postgresql.session import DatabaseSession
from distq.storage.postgresql.tables import Statements, int_of

HEADS_PER_PAGE: Final = 10_000
"""Maximum heads of one answer, to limit memory, and the time in which a standby does nothing else."""
CHANGES_PER_PAGE: Final = 1_000
"""Maximum commits whose keys are read by one statement."""
KEYS_PER_STEP: Final = 100_000
"""Number of changed keys from which a step reads their heads before it reads more of the log, to limit memory."""
KEY_MIN: Final = -(1 << 63)
KEY_MAX: Final = (1 << 63) - 1


class LogReader:
    """Follows the heads of one cluster."""

    def __init__(self) -> None:
        self.is_complete = False
        """Whether all heads that were stored when the last `step` began are returned."""
        self.epoch = 0
        """The epoch of the last commit that was read."""
        self._number = 0
        """The number of that commit in the log."""
        self._session: DatabaseSession | None = None
        """The session on which all heads were read; None before the first."""
        self._next_key: int | None = None
        """The first key of the next page of heads; None after the last page."""
        self._has_returned = False
        self._changed: list[int] = []
        """Keys that have changed, and whose heads have not been read."""

    def step(self, session: DatabaseSession, statements: Statements) -> Heads:
        """Return the next heads, FORGET if those that were returned before are void, none if there are no others now.

        Raises:
            ServerError: the session has ended, or the server reports an error.
        """
        self.is_complete = False
        if self._session is not session:
            if self._has_returned:
                self.forget()
                return FORGET
            if not self._begin(session, statements):
                return ()
        heads: list[tuple[int, bytes | None]] = []
        if self._next_key is not None:
            heads += self._page(session, statements, self._next_key)
        is_end = self._read_changes(session, statements)
        if is_end is None:
            self.forget()
            return FORGET
        heads += self._changed_heads(session, statements)
        self._has_returned = True
        self.is_complete = self._next_key is None and is_end
        return heads

    def forget(self) -> None:
        """Begin again with the next step."""
        self._session, self._has_returned = None, False

    def _begin(self, session: DatabaseSession, statements: Statements) -> bool:
        """Note the present end of the log; False if the leader's release writes no log, so that following fails."""
        for epoch, number, logged_epoch in session.run(statements.text(tables.LAST_CHANGE)):
            if epoch == logged_epoch:
                self._session, self._next_key, self._changed = session, KEY_MIN, []
                self._number, self.epoch = int_of(number), int_of(epoch)
                return True
        return False

    def _page(self, session: DatabaseSession, statements: Statements, first: int) -> list[tuple[int, bytes | None]]:
        rows = session.run(statements.text(tables.HEADS), (integer(first), integer(HEADS_PER_PAGE)))
        heads = [(int_of(key), head) for key, head in rows]
        self._next_key = heads[-1][0] + 1 if len(heads) == HEADS_PER_PAGE and heads[-1][0] < KEY_MAX else None
        return heads

    def _read_changes(self, session: DatabaseSession, statements: Statements) -> bool | None:
        """Read rows of the log until its end, which is True, or until there are many keys; None if rows are missing."""
        while len(self._changed) < KEYS_PER_STEP:
            values = (integer(self._number), integer(CHANGES_PER_PAGE))
            rows = session.run(statements.text(tables.CHANGES), values)
            for number, epoch, keys in rows:
                if int_of(number) != self._number + 1 or int_of(epoch) - self.epoch not in (0, 1):
                    return None
                self._number, self.epoch = int_of(number), int_of(epoch)
                assert keys is not None
                self._changed += integers_of(keys)
            if len(rows) < CHANGES_PER_PAGE:
                return True
        return False

    def _changed_heads(self, session: DatabaseSession, statements: Statements) -> list[tuple[int, bytes | None]]:
        """Return the present heads of changed keys, None for the dropped ones, in the order of keys."""
        keys, self._changed = sorted(set(self._changed)), []
        heads: list[tuple[int, bytes | None]] = []
        for at in range(0, len(keys), HEADS_PER_PAGE):
            page = keys[at : at + HEADS_PER_PAGE]
            found = {
                int_of(key): head for key, head in session.run(statements.text(tables.HEADS_OF), (integers(page),))
            }
            heads += [(key, found.get(key)) for key in page]
        return heads
