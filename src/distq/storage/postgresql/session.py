"""One session of the server: it runs a statement with binary values and returns binary rows. Every call blocks."""

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import psycopg
from psycopg import pq
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from distq.storage.error_messages import StoreUnusable
from distq.storage.postgresql.errors import SOME_WARNING, ServerError, Unreachable
from distq.storage.postgresql.target import CONNECTION, Target

Rows = list[tuple[bytes | None, ...]]

SETTINGS: Final[Mapping[str, str]] = {
    # A role, a database or a server may set each of these otherwise.
    "search_path": "pg_catalog",
    "TimeZone": "UTC",
    "default_transaction_isolation": "read committed",  # otherwise a fenced commit fails with 40001
    "client_min_messages": "warning",  # the warning that a wait for a standby was cancelled must arrive
    "lock_timeout": "0",
    "idle_session_timeout": "0",
    "transaction_timeout": "0",  # it would end the session, so that the outcome of a commit is unknown
    # One plan for every batch: planning takes longer than storing a small one. Without sequential scans
    # the plan that was made for an empty table also suits a full one.
    "plan_cache_mode": "force_generic_plan",
    "enable_seqscan": "off",
    # The server ends the session, and its locks, 10 s after the master's machine or network is gone.
    "tcp_keepalives_idle": "4",
    "tcp_keepalives_interval": "2",
    "tcp_keepalives_count": "3",
    "tcp_user_timeout": "10000",
}
"""The settings of a session; an older server has not all of them."""

PING_S: Final = 1.0
"""Maximum seconds of a failed connection after which the store asks the server whether it runs: that question keeps
Python's global lock, and may take as long again."""

_SET: Final = (  # noqa: S608 - the values are those above
    "SELECT pg_catalog.set_config(wanted.name, wanted.setting, false) FROM (VALUES {}) AS wanted (name, setting) "
    "JOIN pg_catalog.pg_settings ON pg_settings.name = wanted.name"
).format(",".join(f"('{name}', '{setting}')" for name, setting in SETTINGS.items()))
_DURABLE: Final = (
    "SELECT pg_catalog.set_config('synchronous_commit', 'on', false) "
    "WHERE pg_catalog.current_setting('synchronous_commit') = 'off'"
)
"""A confirmed commit must survive a crash of the server; every stronger value stays as the operator has set it."""


class Access(NamedTuple):
    """What a session needs to connect; its repr shows no secret."""

    target: Target
    secrets: Mapping[str, str]
    password_file: Path | None

    def __repr__(self) -> str:
        return f"Access({self.target.shown})"

    def conninfo(self, use: str) -> str:
        """Return the connection string, with the secrets; the password file is read each time. Raises StoreError."""
        parameters: dict[str, str] = {**CONNECTION, "application_name": self.target.session_name(use)}
        secrets = dict(self.secrets)
        if self.password_file is not None and "password" not in secrets:
            secrets["password"] = _password(self.password_file)
        try:
            for name, value in conninfo_to_dict(self.target.url).items():
                if value is not None and name != "application_name":
                    parameters[name] = str(value)
            return make_conninfo("", **{**parameters, **secrets})
        except psycopg.Error as exc:
            raise StoreUnusable(
                f"DISTQ_STORE is {self.target.shown}, which libpq cannot read: {text_of(exc)}"
            ) from None


class DatabaseSession:
    """One session; the methods are called on one thread."""

    def __init__(self, access: Access, use: str) -> None:
        """Connect, and make the session's settings.

        Raises:
            Unreachable: there is no connection.
            StoreUnusable: the URL or the password file cannot be used.
            ServerError: the server rejects the settings.
        """
        conninfo = access.conninfo(use)
        started = time.perf_counter()
        try:
            self._connection = psycopg.connect(conninfo, autocommit=True)
        except psycopg.Error as exc:
            text = f"The database of {access.target.shown} cannot be reached: {text_of(exc)}."
            raise Unreachable(text, permanent=_rejects(conninfo, time.perf_counter() - started)) from None
        self._server = self._connection.pgconn
        self._target = access.target
        self.warning = ""
        """The text of the server's last warning of the code 01000; '' without one."""
        self._server.notice_handler = self._noticed
        try:
            self.run(_SET)
            self.run(_DURABLE)
        except ServerError:
            self.close()
            raise

    @property
    def server_version(self) -> str:
        """The version of the server, such as 15.18."""
        return (self._server.parameter_status(b"server_version") or b"?").decode("utf-8", "replace").split()[0]

    @property
    def major_version(self) -> int:
        """The first number of the server's version."""
        return self._server.server_version // 10_000

    @property
    def ended(self) -> bool:
        """Whether the connection is known to have ended."""
        return self._server.status != pq.ConnStatus.OK

    @property
    def descriptor(self) -> int:
        """The descriptor of the connection: it is readable when a notification has come, or the end."""
        return self._server.socket

    def take_notifications(self) -> bool:
        """Whether a notification has come since the last call."""
        found = False
        while self._server.notifies() is not None:
            found = True
        return found

    def rename(self, use: str) -> None:
        """Let the server show another use of this session. Raises ServerError."""
        name = self._target.session_name(use).encode()
        self.run("SELECT pg_catalog.set_config('application_name', convert_from($1::bytea, 'UTF8'), false)", (name,))

    def run(self, sql: str, values: Sequence[bytes] = ()) -> Rows:
        """Run one statement in a transaction of its own, and return its rows. Raises ServerError."""
        self.warning = ""
        return self._rows(lambda: self._server.exec_params(sql.encode(), values, None, [1] * len(values), 1))

    def prepare(self, name: str, sql: str) -> None:
        """Prepare a statement. Raises ServerError."""
        self._rows(lambda: self._server.prepare(name.encode(), sql.encode()))

    def run_prepared(self, name: str, values: Sequence[bytes]) -> Rows:
        """Run a prepared statement in a transaction of its own. Raises ServerError."""
        self.warning = ""
        return self._rows(lambda: self._server.exec_prepared(name.encode(), values, [1] * len(values), 1))

    def run_together(self, statements: Sequence[str]) -> None:
        """Run statements that return no rows in one transaction. Raises ServerError."""
        self.run("BEGIN")
        try:
            for sql in statements:
                self.run(sql)
        except ServerError:
            if not self.ended:
                self.run("ROLLBACK")
            raise
        self.commit()

    def commit(self) -> None:
        """End the transaction that BEGIN has opened. Raises ServerError also if the server has undone it."""
        done = self._result(lambda: self._server.exec_(b"COMMIT"))
        if done.command_status != b"COMMIT":
            raise ServerError("40000", "ERROR", "the transaction was rolled back")

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def _rows(self, work: "Callable[[], pq.abc.PGresult]") -> Rows:
        done = self._result(work)
        columns = range(done.nfields)
        return [tuple(done.get_value(row, column) for column in columns) for row in range(done.ntuples)]

    def _result(self, work: "Callable[[], pq.abc.PGresult]") -> "pq.abc.PGresult":
        try:
            done = work()
        except psycopg.Error as exc:  # libpq makes no result for a session that has ended before
            raise ServerError("", "", text_of(exc)) from None
        if done.status not in {pq.ExecStatus.TUPLES_OK, pq.ExecStatus.COMMAND_OK}:
            raise _error(done)
        if self.ended:
            raise ServerError("", "", "the connection ended before the transaction was confirmed")
        return done

    def _noticed(self, notice: "pq.abc.PGresult") -> None:
        if (notice.error_field(pq.DiagnosticField.SQLSTATE) or b"").decode() == SOME_WARNING:
            self.warning = _primary(notice)


def _error(done: "pq.abc.PGresult") -> ServerError:
    sqlstate = (done.error_field(pq.DiagnosticField.SQLSTATE) or b"").decode()
    severity = (done.error_field(pq.DiagnosticField.SEVERITY_NONLOCALIZED) or b"").decode()
    return ServerError(sqlstate, severity, _primary(done))


def _primary(done: "pq.abc.PGresult") -> str:
    text = done.error_field(pq.DiagnosticField.MESSAGE_PRIMARY) or done.error_message or b"the connection has ended"
    return " ".join(text.decode("utf-8", "replace").split()).rstrip(".")


def _rejects(conninfo: str, seconds: float) -> bool:
    """Whether the server runs and rejects this connection, or libpq cannot use its parameters.

    libpq gives no code for a failed connection, and its text depends on the server's language. A standby of the
    database, which is read-only until it is promoted, does not reject it for good.
    """
    if seconds >= PING_S:
        return False
    found = pq.PGconn.ping(conninfo.encode())
    return found == pq.Ping.NO_ATTEMPT or (found == pq.Ping.OK and not _admits_readers(conninfo))


def _admits_readers(conninfo: str) -> bool:
    try:
        psycopg.connect(make_conninfo(conninfo, target_session_attrs="any")).close()
    except psycopg.Error:
        return False
    return True


def text_of(exc: psycopg.Error) -> str:
    """Return libpq's text of an error in one line; it contains no secret, because the URL contains none."""
    return (
        " ".join(str(exc).split()).removeprefix("connection is bad: ").removeprefix("connection failed: ").rstrip(".")
    )


def _password(path: Path) -> str:
    try:
        password = path.read_text(encoding="utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as exc:
        why = exc.strerror if isinstance(exc, OSError) else "it is not UTF-8"
        raise StoreUnusable(f"DISTQ_STORE_PASSWORD_FILE is {path}, which cannot be read: {why}.") from None
    if not password:
        raise StoreUnusable(f"DISTQ_STORE_PASSWORD_FILE is {path}, which is empty: write the password into it.")
    return password
