"""The TLS side of one connection, without a socket: it unseals received bytes, and seals the bytes to send.

    stream = TlsStream(context, host)            # None as host: the listening end
    send(stream.start())
    plain = stream.receive(received)
    send(stream.unsent())                        # what the handshake, or an error, has to send
    send(stream.seal([plain_bytes]))

Blocking sockets, the supervisor's event loop and the master's all use it. So a poll of the socket never misses bytes
that the TLS library has read ahead, and each failure has one sentence for both kinds of ends.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterable
from typing import Any, Final

from distq.net.tls_reasons import client_reason, server_reason
from distq.wire.errors import TlsFailed

RECORD_BYTES: Final = 16 * 1024
"""Maximum plain bytes of one TLS record; a read returns at most one record."""
FIRST_BYTES: Final = 5
"""Bytes of a record's header: they show whether the other end speaks TLS at all."""
NAME_CHARS_MAX: Final = 200
"""Maximum characters of a peer's name in logs."""


class TlsStream:
    """One connection's TLS; `host` is the name that the master's certificate must have, None at the master."""

    __slots__ = ("_first", "_host", "_incoming", "_object", "_outgoing", "has_partial_record", "is_open")

    def __init__(self, context: ssl.SSLContext, host: str | None) -> None:
        """Begin a connection; raises TlsFailed if no certificate can have the name `host`."""
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        try:
            self._object = context.wrap_bio(self._incoming, self._outgoing, host is None, host)
        except ValueError:  # a host that begins with a dot, or one that is no name of DNS
            text = f"A certificate cannot have the name {host!r}: correct DISTQ_ADDRESS or DISTQ_TLS_SERVER_NAME."
            raise TlsFailed(text) from None
        self._host = host
        self._first = b""
        self.is_open = False
        """Whether the handshake is over."""
        self.has_partial_record = False
        """Whether the last bytes ended within a record, which does not make the socket readable any more."""

    @property
    def has_begun(self) -> bool:
        """Whether any bytes have come from the other end."""
        return bool(self._first)

    def start(self) -> bytes:
        """Return the first bytes to send; the listening end sends none."""
        if self._host is not None:
            try:
                self._object.do_handshake()
            except ssl.SSLWantReadError:
                pass
        return self._outgoing.read()

    def receive(self, data: bytes) -> bytes:
        """Take bytes from the socket and return the plain bytes that they complete; `unsent` may have bytes afterwards.

        Raises:
            TlsFailed: the ends do not agree, or the bytes are no TLS; `unsent` has what to send before the close.
        """
        self._incoming.write(data)
        try:
            if not self.is_open:
                self._first = (self._first + data)[:FIRST_BYTES]
                self._object.do_handshake()
                self.is_open = True
            return self._read()
        except ssl.SSLWantReadError:
            self.has_partial_record = True
            return b""
        except ssl.SSLError as error:
            reason = server_reason if self._host is None else client_reason
            raise TlsFailed(reason(error, self._first, self._host or "")) from None

    def unsent(self) -> bytes:
        """Return the bytes to send now, if there are any."""
        return self._outgoing.read() if self._outgoing.pending else b""

    def seal(self, parts: Iterable[bytes | memoryview]) -> bytes:
        """Return what to send for these plain bytes."""
        write = self._object.write
        for part in parts:
            write(part)
        return self._outgoing.read()

    @property
    def peer_name(self) -> str:
        """The common name of the peer's certificate, or its first other name; '' if it has presented none."""
        found: dict[str, Any] = self._object.getpeercert() or {}
        names = [value for field in found.get("subject", ()) for key, value in field if key == "commonName"]
        names += [value for _, value in found.get("subjectAltName", ())]
        name = str(names[0]) if names else "without a name" if found else ""
        return "".join(one if one.isprintable() else "?" for one in name[:NAME_CHARS_MAX])

    @property
    def certificate_ends_at(self) -> float | None:
        """Instant at which the peer's certificate ends, in seconds since 1970; None if it has presented none."""
        ends = (self._object.getpeercert() or {}).get("notAfter")
        return float(ssl.cert_time_to_seconds(ends)) if isinstance(ends, str) else None

    def _read(self) -> bytes:
        """Return all plain bytes: none may stay here, where no poll would find them."""
        read, incoming = self._object.read, self._incoming
        data = read(RECORD_BYTES)
        self.has_partial_record = False
        if not incoming.pending:
            return data
        parts = [data]
        try:
            while incoming.pending and data:
                data = read(RECORD_BYTES)
                parts.append(data)
        except ssl.SSLWantReadError:
            self.has_partial_record = True
        return b"".join(parts)
