"""What each error of the server means for a commit, and what an operator must do."""

from collections.abc import Mapping
from typing import Final

from distq.core.ports import CommitRefused, CommitUnknown, Fenced, StoreError
from distq.storage.error_messages import StoreUnusable

READ_ONLY: Final = "25006"
LOCK_TIMEOUT: Final = "55P03"
DISK_FULL: Final = "53100"
NO_RIGHTS: Final = "42501"
SOME_WARNING: Final = "01000"
"""The warning with which the server confirms a commit whose wait for a synchronous standby was cancelled."""


GENERAL: Final = ("40", DISK_FULL, "53300", "53400", LOCK_TIMEOUT, "58")
"""Codes, or their first characters, by which the server refuses statements whatever they hold: rollback, lack of room
or of connections, a lock, an error of its system. Too little memory (53200) may come from one large body."""


class ServerError(Exception):
    """A statement failed: `sqlstate` is the server's code, '' if the connection ended instead of an answer."""

    def __init__(self, sqlstate: str, severity: str, text: str) -> None:
        super().__init__(text)
        self.sqlstate = sqlstate
        self.severity = severity

    @property
    def ends_the_session(self) -> bool:
        """Whether the session has ended, so that the server's answer does not tell what became of the statement."""
        return self.severity != "ERROR"


class Unreachable(StoreError):
    """No connection could be made; `permanent` is True if waiting cannot help."""

    def __init__(self, text: str, *, permanent: bool) -> None:
        super().__init__(text)
        self.permanent = permanent


ADVICE: Final[Mapping[str, str]] = {
    DISK_FULL: "Make room on the database's volume.",
    NO_RIGHTS: "Let the role of DISTQ_STORE own the schema: CREATE SCHEMA distq AUTHORIZATION the_role.",
    "57014": "It was cancelled, or the role's statement_timeout is too short.",
    LOCK_TIMEOUT: "Another session holds a lock on distq's tables.",
    "53300": "Raise max_connections of the server; a master takes two connections.",
    "53200": "The server has too little memory.",
}


def explain(place: str, error: ServerError) -> str:
    """Return a message for an error: where it happened, the server's text, and what the operator must do."""
    code = f" ({error.sqlstate})" if error.sqlstate else ""
    return f"The database of {place} reports{code}: {error}. {ADVICE.get(error.sqlstate, '')}".strip()


def outcome(place: str, error: ServerError) -> StoreError:
    """Return what the error means for the commit that received it.

    | The server's answer | Meaning |
    |---|---|
    | severity ERROR, read-only transaction (25006) | Fenced: the server is a standby now; nothing is stored |
    | severity ERROR, any code but these | CommitRefused: the statement was undone; the session works on |
    | severity ERROR, a code of GENERAL | the same, for whatever the statement held: CommitRefused.is_general |
    | FATAL, PANIC, or no answer | CommitUnknown: the server may have stored the commit before the session ended |

    A commit whose answer came with a warning (01000) is CommitUnknown too, and one whose fence found no row Fenced:
    the statement itself succeeds in both cases.
    """
    text = explain(place, error)
    if error.ends_the_session:
        return CommitUnknown(text)
    if error.sqlstate == READ_ONLY:
        return Fenced(text)
    return CommitRefused(text, is_general=error.sqlstate.startswith(GENERAL))


def unusable(place: str, error: ServerError) -> StoreError:
    """Return the error of a statement that opens or reads the store."""
    return StoreUnusable(explain(place, error))
