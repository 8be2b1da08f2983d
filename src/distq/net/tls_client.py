"""Makes the TLS side of connections to a master, without importing `ssl` before the first one."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from distq.net.tls_files import TlsFiles
    from distq.net.tls_stream import TlsStream


def tls_stream(files: TlsFiles, host: str) -> TlsStream:
    """Return the TLS side of a new connection to a host; raises TlsUnusable and TlsFailed."""
    from distq.net.tls_context import client_context  # noqa: PLC0415 - imports `ssl`, which takes 20 ms
    from distq.net.tls_stream import TlsStream  # noqa: PLC0415

    return TlsStream(client_context(files), files.server_name or host)
