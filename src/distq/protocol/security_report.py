"""What a master says about its own security: the answer to `admin("security")`, which `distq doctor` reads.

It travels as a dict, so that a master of another version can leave out a key, or add one. It has names, counts and
words, and never a key, a path, or a password.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, NamedTuple, TypeVar

from distq.core.ranges import count_of
from distq.protocol.hello import short_text

T = TypeVar("T")

UNSERVED_MAX: Final = 20
"""Maximum names of queues in a report: a person reads a few."""


class KeyReport(NamedTuple):
    """One key that the master accepts, by its name."""

    name: str
    roles: tuple[str, ...]
    queues: tuple[str, ...]
    """Patterns of the queues that it may use; empty for all queues."""
    is_old: bool
    """Whether a newer key has the same name."""
    workers: int = 0
    """Open connections of workers, their executors, and programs of the standard library."""
    clients: int = 0
    """Open connections of clients."""


class HttpReport(NamedTuple):
    """The HTTP server of the master."""

    host: str
    """The host of its address; '' if it is off."""
    port: int
    is_loopback: bool
    uses_tls: bool
    has_token: bool
    takes_plain_keys: bool
    """Whether it accepts keys without TLS from other machines."""


class StoreReport(NamedTuple):
    """The store of the master."""

    kind: str
    is_local: bool
    """Whether it is in the master's process, in a file, or behind a socket of the master's machine."""
    sslmode: str
    """The `sslmode` in the URL of a database; '' if it is not set."""
    standbys: int | None
    """Number of masters that stand by; None if the store is for one master."""


class SecurityReport(NamedTuple):
    """All of it; None where the master does not say."""

    key: KeyReport | None = None
    """The key of the connection that asks."""
    keys: tuple[KeyReport, ...] | None = None
    uses_tls: bool | None = None
    verifies_clients: bool | None = None
    binds_loopback: bool | None = None
    """Whether only the master's own machine can reach its port."""
    http: HttpReport | None = None
    store: StoreReport | None = None
    limits_off: tuple[str, ...] | None = None
    """Settings of limits that are off."""
    auth_failures: int | None = None
    forbidden_calls: Mapping[str, int] | None = None
    """Number of refused calls by the name of the key."""
    limits_met: Mapping[str, int] | None = None
    """Number of times that a limit has refused something, by its setting in lower case."""
    unserved_queues: tuple[str, ...] | None = None
    """Queues with ready tasks that no connected worker serves."""


def write_security_report(report: SecurityReport) -> dict[str, object]:
    """The answer to `admin("security")`."""
    nested = {
        "key": None if report.key is None else report.key._asdict(),
        "keys": None if report.keys is None else [key._asdict() for key in report.keys],
        "http": None if report.http is None else report.http._asdict(),
        "store": None if report.store is None else report.store._asdict(),
    }
    return {**report._asdict(), **nested}


def read_security_report(answer: object) -> SecurityReport:
    """The answer to `admin("security")`; a value that cannot be used counts as left out."""
    fields = answer if isinstance(answer, Mapping) else {}
    return SecurityReport(
        _read(fields.get("key"), Mapping, _key),
        _read(fields.get("keys"), list | tuple, lambda rows: tuple(_key(row) for row in _mappings(rows))),
        _flag(fields.get("uses_tls")),
        _flag(fields.get("verifies_clients")),
        _flag(fields.get("binds_loopback")),
        _read(fields.get("http"), Mapping, _http),
        _read(fields.get("store"), Mapping, _store),
        _read(fields.get("limits_off"), list | tuple, _texts),
        _read(fields.get("auth_failures"), int, count_of),
        _read(fields.get("forbidden_calls"), Mapping, _counts),
        _read(fields.get("limits_met"), Mapping, _counts),
        _read(fields.get("unserved_queues"), list | tuple, _texts),
    )


def _read(value: Any, kind: Any, read: Callable[[Any], T]) -> T | None:
    return read(value) if isinstance(value, kind) else None


def _flag(value: object) -> bool | None:
    return value if isinstance(value, bool) else None


def _mappings(rows: Iterable[object]) -> Iterable[Mapping[Any, Any]]:
    return (row for row in rows if isinstance(row, Mapping))


def _texts(values: object) -> tuple[str, ...]:
    return tuple(map(short_text, values)) if isinstance(values, list | tuple) else ()


def _counts(values: Mapping[Any, Any]) -> dict[str, int]:
    return {short_text(name): count_of(count) for name, count in values.items()}


def _key(fields: Mapping[Any, Any]) -> KeyReport:
    return KeyReport(
        short_text(fields.get("name")),
        _texts(fields.get("roles")),
        _texts(fields.get("queues")),
        bool(fields.get("is_old")),
        count_of(fields.get("workers")),
        count_of(fields.get("clients")),
    )


def _http(fields: Mapping[Any, Any]) -> HttpReport:
    return HttpReport(
        short_text(fields.get("host")),
        count_of(fields.get("port")),
        bool(fields.get("is_loopback")),
        bool(fields.get("uses_tls")),
        bool(fields.get("has_token")),
        bool(fields.get("takes_plain_keys")),
    )


def _store(fields: Mapping[Any, Any]) -> StoreReport:
    standbys = fields.get("standbys")
    return StoreReport(
        short_text(fields.get("kind")),
        bool(fields.get("is_local")),
        short_text(fields.get("sslmode")),
        count_of(standbys) if isinstance(standbys, int) else None,
    )
