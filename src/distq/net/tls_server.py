"""The certificates of a process's servers, from its settings: what happens to them becomes log events."""

from __future__ import annotations

from typing import Any, Protocol

from distq.net.tls_context import ServerTls
from distq.net.tls_files import HasTlsFiles, server_files


class HasServerTls(HasTlsFiles, Protocol):
    """The settings of a process that listens."""

    @property
    def tls_verify_clients(self) -> bool: ...  # noqa: D102 - named as in the settings table
    @property
    def http_tls(self) -> bool: ...  # noqa: D102


def master_tls(settings: HasServerTls, log: Any) -> ServerTls | None:
    """Return the certificate of the master's port; None without TLS. Raises TlsUnusable."""
    files = server_files(settings)
    if files is None:
        return None

    def verified(peer: str, name: str) -> None:
        log.info("peer_verified", peer=peer, certificate=name)

    return ServerTls(
        files,
        verify_clients=settings.tls_verify_clients,
        on_reload=_logs_reload(log, "master"),
        on_verified=verified,
    )


def http_tls(settings: HasServerTls, log: Any) -> ServerTls | None:
    """Return the certificate of the HTTP server; None if it serves without TLS. Raises TlsUnusable."""
    files = server_files(settings) if settings.http_tls else None
    return None if files is None else ServerTls(files, on_reload=_logs_reload(log, "http"))


def _logs_reload(log: Any, port: str) -> Any:
    def note(reason: str | None) -> None:
        if reason is None:
            log.info("tls_reloaded", port=port)
        else:
            log.warning("tls_not_reloaded", port=port, reason=reason)

    return note
