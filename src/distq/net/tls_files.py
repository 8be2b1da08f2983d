"""The files of a process's certificate, key and CA, as its settings name them.

The module does not import `ssl`, which takes 20 ms: most executors and commands connect without TLS.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

from distq.core.errors import DistqError


class TlsUnusable(DistqError):
    """A file of a certificate, key or CA cannot be used."""

    code = "TLS_UNUSABLE"
    exit_code = 2


class TlsFiles(NamedTuple):
    """Paths of files in PEM, and the master's name; None where a setting is not set."""

    cert: str | None
    key: str | None
    ca: str | None
    server_name: str | None = None
    """The name that the master's certificate must have; None: the host of the address."""


class HasTlsFiles(Protocol):
    """The settings that name the files."""

    @property
    def tls_cert(self) -> str | None: ...  # noqa: D102 - named as in the settings table
    @property
    def tls_key(self) -> str | None: ...  # noqa: D102
    @property
    def tls_ca(self) -> str | None: ...  # noqa: D102
    @property
    def tls_server_name(self) -> str | None: ...  # noqa: D102


def client_files(settings: HasTlsFiles) -> TlsFiles | None:
    """Return the files with which a client or worker connects; None if it connects without TLS."""
    if settings.tls_ca is None:
        return None
    return TlsFiles(settings.tls_cert, settings.tls_key, settings.tls_ca, settings.tls_server_name)


def server_files(settings: HasTlsFiles) -> TlsFiles | None:
    """Return the files with which a master listens; None if it listens without TLS."""
    if settings.tls_cert is None:
        return None
    return TlsFiles(settings.tls_cert, settings.tls_key, settings.tls_ca)
