"""Gathers the facts about a master and this machine, in about as many calls as `distq status` makes."""

from __future__ import annotations

import http.client
import ipaddress
import os
import socket
import stat
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from distq.cli.doctor.facts import HttpAnswer, LocalFacts, MasterFacts, SecretFile
from distq.cli.health import http_connection
from distq.cli.status import fetched
from distq.core.errors import DistqError
from distq.net.dial import Connection, dial
from distq.net.tls_files import client_files
from distq.protocol.hello import CLI, read_greeting, write_hello
from distq.protocol.methods import ADMIN, BROKER, HELLO
from distq.protocol.security_report import HttpReport, SecurityReport, read_security_report
from distq.settings import Address, Settings
from distq.settings.row import Row
from distq.settings.table import ROWS
from distq.wire.errors import RemoteRefusal

if TYPE_CHECKING:
    from distq.settings import Loaded

HTTP_WAIT_S: Final = 1.0
"""Maximum seconds that the doctor waits for the HTTP port: a port behind a firewall does not answer at all."""
SECRET_PATHS: Final = (
    "authkey_file",
    "keys_path",
    "signing_key_file",
    "encryption_key_file",
    "tls_key",
    "store_password_file",
)
"""The fields of settings that name a file, or a folder of files, with a secret."""
PUBLISHED: Final = frozenset(
    {b"changeme", b"change-me", b"secret", b"password", b"abracadabra", b"abc", b"authkey", b"distq", b"peekaboo"}
)
"""Keys of the standard library's documentation and of tutorials, in lower case."""


def local_facts(loaded: Loaded, env_path: str) -> LocalFacts:
    """The facts about this machine; `env_path` is the path of `.env`."""
    key = loaded.settings.authkeys[0]
    files = []
    for field in SECRET_PATHS:
        path = getattr(loaded.settings, field)
        files += _secret_files(f"DISTQ_{field.upper()}", path) if path is not None else []
    return LocalFacts(
        key_chars=len(key),
        key_distinct=len(set(key)),
        key_is_published=bytes(key).lower().strip() in PUBLISHED,
        secret_files=tuple(files),
        env_file=_env_file(loaded, env_path),
    )


def _secret_files(setting: str, path: str) -> list[SecretFile]:
    """The files at a path: itself, or those in a folder."""
    found = []
    with suppress(OSError):
        target = Path(path)
        for one in sorted(target.iterdir()) if target.is_dir() else [target]:
            status = one.stat()
            if not one.name.startswith(".") and stat.S_ISREG(status.st_mode):
                found.append(SecretFile(setting=setting, path=str(one), mode=stat.S_IMODE(status.st_mode)))
    return found


def _env_file(loaded: Loaded, path: str) -> SecretFile | None:
    try:
        mode = stat.S_IMODE(Path(path).stat().st_mode)
    except OSError:
        return None
    secret = next((row.name for row in ROWS if is_secret(row) and loaded.texts[row.name].source == path), "")
    return SecretFile(setting=secret, path=path, mode=mode)


def is_secret(row: Row) -> bool:
    """Whether the value of a setting may be a secret: a key, or a URL with a password."""
    return row.is_secret or row.name == "DISTQ_STORE"


def master_facts(settings: Settings, wait_s: float) -> MasterFacts:
    """Connect to the master and ask it; raises CannotReach, AuthenticationFailed, TlsFailed and TlsUnusable."""
    connection = _dial(settings, settings.address, wait_s)
    try:
        before = time.time()  # noqa: TID251 - the clock that the master's is compared with
        answer = connection.call(BROKER, HELLO, (write_hello(CLI, "doctor", ""),), timeout_s=wait_s)
        middle = (before + time.time()) / 2  # noqa: TID251
        peer = _peer(connection)
        report = _report(connection, wait_s)
        ends_at = None if connection.tls is None else connection.tls.certificate_ends_at
        now = answer.get("now") if isinstance(answer, Mapping) else None
        greeting = read_greeting(answer)
        stats = {what: _stats(connection, what, wait_s) for what in ("overview", "queues", "workers")}
        return MasterFacts(
            address=str(Address(*connection.address)),
            peer_is_loopback=peer.is_loopback,
            peer_is_public=peer.is_global,
            uses_tls=connection.tls is not None,
            certificate_left_s=None if ends_at is None else ends_at - middle,
            unreached=unreached(settings, connection.address, wait_s),
            addresses=len(settings.address),
            clock_ahead_s=now - middle if isinstance(now, float) else None,
            durable=greeting.durable if isinstance(answer, Mapping) and "durable" in answer else None,
            overview=stats["overview"],
            queues=_rows(stats["queues"], "queues"),
            workers=_rows(stats["workers"], "workers"),
            report=report,
            http_answer=None if report.http is None else _http_answer(report.http, peer),
        )
    finally:
        connection.close()


def _dial(settings: Settings, addresses: tuple[Address, ...], wait_s: float) -> Connection:
    return dial(
        addresses,
        settings.authkeys[0],
        timeout_s=wait_s,
        frame_bytes_max=settings.frame_bytes_max,
        tls=client_files(settings),
    )


def _peer(connection: Connection) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    seen = socket.socket(fileno=os.dup(connection.fileno()))
    with seen:
        address = ipaddress.ip_address(seen.getpeername()[0].partition("%")[0])
    return getattr(address, "ipv4_mapped", None) or address


def _report(connection: Connection, wait_s: float) -> SecurityReport:
    """The master's report; an empty one from a master of an earlier version, or if the key may not ask."""
    try:
        return read_security_report(connection.call(BROKER, ADMIN, ("security", {}), timeout_s=wait_s))
    except RemoteRefusal:
        return SecurityReport()


def _stats(connection: Connection, what: str, wait_s: float) -> Mapping[str, Any] | None:
    try:
        return fetched(connection, what, wait_s)
    except RemoteRefusal:
        return None


def _rows(stats: Mapping[str, Any] | None, what: str) -> tuple[Mapping[str, Any], ...] | None:
    rows = None if stats is None else stats.get(what)
    return tuple(row for row in rows if isinstance(row, Mapping)) if isinstance(rows, list | tuple) else None


def unreached(settings: Settings, reached: tuple[str, int], wait_s: float) -> tuple[str, ...]:
    """The addresses of DISTQ_ADDRESS, apart from one that was reached, at which no master accepts the key."""
    others = [address for address in settings.address if address != reached]

    def fails(address: Address) -> bool:
        try:
            _dial(settings, (address,), wait_s).close()
        except DistqError:
            return True
        return False

    if not others:
        return ()
    with ThreadPoolExecutor(len(others)) as pool:
        return tuple(str(one) for one, failed in zip(others, pool.map(fails, others), strict=True) if failed)


def _http_answer(http_report: HttpReport, peer: ipaddress.IPv4Address | ipaddress.IPv6Address) -> HttpAnswer:
    """Ask the HTTP port of the master without a key, where the master itself was reached."""
    address = Address(str(peer), http_report.port)
    if not http_report.host or (http_report.is_loopback and not peer.is_loopback):
        return HttpAnswer(address=str(address), is_loopback=http_report.is_loopback, answers=False)
    connection = http_connection(address, uses_tls=http_report.uses_tls, timeout_s=HTTP_WAIT_S)
    try:
        connection.request("GET", "/livez")
        answers = connection.getresponse().status == http.client.OK
    except (OSError, http.client.HTTPException):
        answers = False
    finally:
        connection.close()
    return HttpAnswer(address=str(address), is_loopback=peer.is_loopback, answers=answers)
