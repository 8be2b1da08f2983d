"""Reads the URL of DISTQ_STORE: the parameters of libpq, the schema, and the name of the cluster."""

import hashlib
import re
from collections.abc import Mapping
from typing import Final, NamedTuple
from urllib.parse import unquote

from distq.storage.error_messages import StoreUnusable

_NAME: Final = re.compile(r"[a-z_][a-z0-9_]{0,39}")
"""A name that no shell and no quotes in SQL change, and that fits into a session's name beside a lock's number."""
_OURS: Final[Mapping[str, str]] = {"schema": "distq", "cluster": "main"}
"""The parameters of the URL that are not libpq's, with their defaults."""

CONNECTION: Final[Mapping[str, str]] = {
    "target_session_attrs": "read-write",
    "connect_timeout": "5",
    # A server whose machine or network is gone ends the session after 10 s. Keepalives notice that while distq waits
    # for an answer, the user timeout while bytes that distq has sent are not acknowledged.
    "keepalives": "1",
    "keepalives_idle": "4",
    "keepalives_interval": "2",
    "keepalives_count": "3",
    "tcp_user_timeout": "10000",
}
"""The parameters of a connection that the URL may change."""


class Target(NamedTuple):
    """A cluster's place in a database; it holds no password."""

    url: str
    """The URL with libpq's parameters only."""
    shown: str
    """The URL of DISTQ_STORE, for messages."""
    schema: str
    cluster: str

    @property
    def quoted_schema(self) -> str:
        """The schema as SQL reads it: without quotes a reserved word, such as `user`, would be no name."""
        return f'"{self.schema}"'

    @property
    def lock(self) -> int:
        """The number of the advisory lock of this cluster's leader; advisory locks are per database."""
        return _number(f"{self.schema}\0{self.cluster}")

    @property
    def schema_lock(self) -> int:
        """The number of the advisory lock under which the tables are made."""
        return _number(self.schema)

    @property
    def channel(self) -> str:
        """The channel of notifications that the leader has ended its lease, as SQL reads it."""
        return f'"distq {self.lock & (1 << 64) - 1:016x}"'

    def session_name(self, use: str) -> str:
        """Return the `application_name` of the sessions of this cluster for one use; the server shows it."""
        return f"distq {use} {self.cluster:.20} {self.lock & (1 << 64) - 1:016x}"


def parse_target(url: str) -> Target:
    """Read a URL without secrets. Raises StoreUnusable."""
    address, _, query = url.partition("?")
    names = dict(_OURS)
    rest = []
    for part in filter(None, query.split("&")):
        name, _, value = part.partition("=")
        if unquote(name) not in _OURS:
            rest.append(part)
            continue
        names[unquote(name)] = value = unquote(value)
        if not _NAME.fullmatch(value):
            raise StoreUnusable(
                f"The {unquote(name)} in DISTQ_STORE is {value!r}; it takes 1 to 40 lower-case letters, digits and "
                "'_', and begins with no digit."
            )
    return Target(address + ("?" + "&".join(rest) if rest else ""), url, names["schema"], names["cluster"])


def _number(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big", signed=True)
