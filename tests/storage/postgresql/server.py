"""A PostgreSQL server of the tests' own: on a socket in a temporary folder, as a user without rights."""

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
from psycopg import pq
from tests.ports import free_port
from tests.waiting import SOON_S, eventually

USER = "nobody"
"""The user that runs the server when the tests run as root, whom PostgreSQL refuses."""
FAST = ("synchronous_commit=on", "max_connections=40", "shared_buffers=16MB", "listen_addresses=127.0.0.1")


def binaries() -> Path | None:
    """Return the folder of the newest server on this machine, None without one."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    if found:
        return found[-1].parent
    there = shutil.which("initdb")
    return Path(there).resolve().parent if there else None


def _program(name: str) -> Path:
    folder = binaries()
    assert folder is not None
    return folder / name


def _environ() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("PG")}


def _as_user() -> dict[str, Any]:
    """The arguments of a process that runs as USER, if the tests run as root."""
    if os.geteuid():
        return {}
    entry = pwd.getpwnam(USER)
    return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}


class PostgresServer:
    """One server; the cluster's files are in `folder / name`, its socket is in `folder`."""

    def __init__(self, folder: Path, port: int, name: str = "data") -> None:
        self.folder = folder
        self.data = folder / name
        self.log_file = folder / f"{name}.log"
        self.port = port
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """The URL of the database over the socket, as DISTQ_STORE takes it."""
        return f"postgresql://distq@/postgres?host={self.folder}&port={self.port}"

    def url_with(self, other: "PostgresServer") -> str:
        """The URL of this server and another one over TCP, of which one accepts writes."""
        return f"postgresql://distq@127.0.0.1:{self.port},127.0.0.1:{other.port}/postgres?"

    @property
    def conninfo(self) -> str:
        """The connection string of a superuser."""
        return f"host={self.folder} port={self.port} user=distq dbname=postgres"

    def command(self, program: str, *arguments: str) -> None:
        """Run a program of PostgreSQL as the server's user."""
        done = subprocess.run(
            [_program(program), *arguments],
            capture_output=True,
            text=True,
            cwd=self.folder,
            env=_environ(),
            check=False,
            timeout=90,
            **_as_user(),
        )
        assert done.returncode == 0, f"{program}: {done.stdout}{done.stderr}{self.log}"

    @property
    def log(self) -> str:
        """The server's log."""
        return self.log_file.read_text(errors="replace") if self.log_file.exists() else ""

    def own(self, folder: Path) -> None:
        """Give a folder to the server's user."""
        if os.geteuid() == 0:
            shutil.chown(folder, USER)

    def make(self, wal: Path | None = None) -> None:
        """Make the cluster's files, and those of its log in `wal`, in segments of 1 MiB."""
        options = ["--auth=trust", "--username=distq", "--no-sync", "--encoding=UTF8", "--locale=C"]
        if wal is not None:
            self.own(wal)
            options += ["--wal-segsize=1", f"--waldir={wal / 'wal'}"]
        self.command("initdb", "-D", str(self.data), *options)

    def start(self, *options: str) -> None:
        """Start the server and wait until it accepts connections; an option is like name=value."""
        given = [*FAST, *options, f"unix_socket_directories={self.folder}", f"port={self.port}"]
        with self.log_file.open("ab") as log:
            self._process = subprocess.Popen(
                [_program("postgres"), "-D", self.data, *(word for option in given for word in ("-c", option))],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.folder,
                env=_environ(),
                start_new_session=True,
                **_as_user(),
            )
        eventually(self._answers, "the server accepts connections", lambda: self.log)

    @property
    def runs(self) -> bool:
        """Whether the server was started, and not stopped since."""
        return self._process is not None

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, self.log
        return pq.PGconn.ping(self.conninfo.encode()) == pq.Ping.OK

    def stop(self, number: signal.Signals = signal.SIGINT) -> None:
        """Stop the server: SIGINT ends the sessions, SIGQUIT is like a crash."""
        if self._process is not None:
            self._process.send_signal(number)
            self._process.wait(SOON_S)
            self._process = None

    def kill(self) -> None:
        """Kill the server and its sessions at one instant, as a power cut does."""
        process, self._process = self._process, None
        assert process is not None
        process.send_signal(signal.SIGSTOP)  # it must not react to the end of the first session
        pid = process.pid
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            os.kill(int(child), signal.SIGKILL)
        process.kill()
        process.wait(SOON_S)

    def promote(self) -> None:
        """Make this standby the primary server, and wait until it accepts writes."""
        self.sql("SELECT pg_promote(true, 60)")

    def sql(self, sql: str, *values: object) -> list[tuple[Any, ...]]:
        """Run one statement as a superuser, and return its rows."""
        with psycopg.connect(self.conninfo, autocommit=True) as connection:
            cursor = connection.execute(sql.encode(), values or None)
            return cursor.fetchall() if cursor.description else []

    def end_sessions(self, use: str) -> None:
        """End the stores' sessions for one use, `lock` or `commit`, and wait until they have ended."""
        names = "SELECT pg_terminate_backend(pid, 20000) FROM pg_stat_activity WHERE application_name LIKE %s"
        assert all(ended for (ended,) in self.sql(names, f"distq {use} %"))

    def depose(self, schema: str = "distq") -> None:
        """End the leases and the locks of all leaders: another store leads at once, and only the epoch protects."""
        self.sql(f"UPDATE {schema}.distq_leases SET released = true")
        self.end_sessions("lock")


@contextmanager
def server_in(folder: Path, *options: str, wal: Path | None = None) -> Iterator[PostgresServer]:
    """A new server in the folder, stopped in the end; with `wal`, its log is in that other folder."""
    server = PostgresServer(folder, free_port())
    server.own(folder)
    server.make(wal)
    try:
        server.start(*options)
        yield server
    finally:
        server.stop(signal.SIGQUIT)


@contextmanager
def standby_of(primary: PostgresServer, *options: str) -> Iterator[PostgresServer]:
    """A synchronous standby of a running server: from now on each commit of the primary waits for it."""
    standby = PostgresServer(primary.folder, free_port(), "standby")
    connection = f"--dbname={primary.conninfo} application_name=standby"
    files = ["-D", str(standby.data), "--write-recovery-conf", "--no-sync", "--checkpoint=fast"]
    standby.command("pg_basebackup", connection, *files)
    try:
        standby.start(*options)
        primary.sql("ALTER SYSTEM SET synchronous_standby_names = 'standby'")
        primary.sql("SELECT pg_reload_conf()")
        state = "SELECT sync_state FROM pg_stat_replication WHERE application_name = 'standby'"
        eventually(lambda: primary.sql(state) == [("sync",)], "the standby is synchronous", lambda: standby.log)
        yield standby
    finally:
        standby.stop(signal.SIGQUIT)
        if primary.runs:
            primary.sql("ALTER SYSTEM RESET synchronous_standby_names")
            primary.sql("SELECT pg_reload_conf()")


@contextmanager
def short_folder() -> Iterator[Path]:
    """A temporary folder with a short name that every user may enter: the path of a socket has at most 107 bytes."""
    with tempfile.TemporaryDirectory(prefix="distq-pg-", dir="/tmp") as name:
        Path(name).chmod(0o755)
        yield Path(name)
