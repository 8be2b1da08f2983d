"""Reads certificates, keys and CAs, and reads a server's files again after they have changed."""

from __future__ import annotations

import os
import ssl
import stat
from collections.abc import Callable
from typing import Final

from distq.net.tls_files import TlsFiles, TlsUnusable
from distq.net.tls_stream import TlsStream
from distq.settings.file_stamps import Stamp, is_fresh, stamp_of

OLDEST: Final = ssl.TLSVersion.TLSv1_3
HOW_TO_MAKE: Final = "`distq tls init` makes files that fit together"

Signature = tuple[Stamp | None, ...]
"""The stamps of the files; None for a missing file."""


def client_context(files: TlsFiles) -> ssl.SSLContext:
    """Return the context of connections to a master: TLS 1.3, with the certificate and its name checked.

    Raises:
        TlsUnusable: a file cannot be used.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = OLDEST
    _load_ca(context, files)
    if files.cert is not None:
        _load_certificate(context, files)
    return context


def server_context(files: TlsFiles, *, verify_clients: bool) -> ssl.SSLContext:
    """Return the context of a server's connections; with `verify_clients` each peer must present a certificate.

    Raises:
        TlsUnusable: a file cannot be used.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = OLDEST
    # A ticket would arrive without a call before it, and distq's connections last: no peer resumes a session.
    context.num_tickets = 0
    _load_certificate(context, files)
    if verify_clients:
        _load_ca(context, files)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


class ServerTls:
    """The certificate of a server. It reads changed files at the next connection; open connections stay open."""

    def __init__(
        self,
        files: TlsFiles,
        *,
        verify_clients: bool = False,
        on_reload: Callable[[str | None], None] = lambda _: None,
        on_verified: Callable[[str, str], None] = lambda _peer, _name: None,
    ) -> None:
        """Read the files; raises TlsUnusable.

        Args:
            files: the certificate, its key, and with `verify_clients` the CA of the peers' certificates.
            verify_clients: whether each peer must present a certificate.
            on_reload: called after a change of the files: with None, or with the reason why they cannot be used.
            on_verified: called with the address and the name of each peer whose certificate was verified.
        """
        self._files = files if verify_clients else files._replace(ca=None)
        self.verify_clients = verify_clients
        self.on_verified = on_verified
        self._on_reload = on_reload
        self._signature = self._look()
        self._is_fresh = any(map(is_fresh, self._signature))
        """Whether the files may have changed since they were read, and have the same signature."""
        self._error: str | None = None
        """Why the files could not be used when they were read last."""
        self._context = server_context(self._files, verify_clients=verify_clients)

    def stream(self) -> TlsStream:
        """Return the TLS side of a new connection."""
        return TlsStream(self.context(), None)

    def context(self) -> ssl.SSLContext:
        """Return the context of a new connection. Files that do not fit together leave the previous ones in use."""
        signature = self._look()
        if signature != self._signature or self._is_fresh:
            self._read(signature)
        return self._context

    def _read(self, signature: Signature) -> None:
        """Read the files, unless they change meanwhile: the next connection reads them then."""
        error: str | None = None
        try:
            context = server_context(self._files, verify_clients=self.verify_clients)
        except TlsUnusable as exc:
            error, context = str(exc), self._context
        if self._look() != signature:
            return
        has_news = signature != self._signature or error != self._error
        self._signature, self._is_fresh = signature, any(map(is_fresh, signature))
        self._context, self._error = context, error
        if has_news:
            self._on_reload(error)

    def reloading_context(self) -> ssl.SSLContext:
        """Return a context for a server that takes only one: each of its connections uses the present `context()`."""
        context = server_context(self._files, verify_clients=self.verify_clients)

        def choose(connection: ssl.SSLObject | ssl.SSLSocket, _name: str | None, _context: ssl.SSLContext) -> None:
            connection.context = self.context()

        context.sni_callback = choose
        return context

    def _look(self) -> Signature:
        files = self._files
        return tuple(stamp_of(path) for path in (files.cert, files.key, files.ca) if path is not None)


def _load_ca(context: ssl.SSLContext, files: TlsFiles) -> None:
    path = files.ca or ""
    _check_readable("DISTQ_TLS_CA", path)
    try:
        context.load_verify_locations(path)
    except (ssl.SSLError, OSError):
        raise TlsUnusable(
            f"The file {path} of DISTQ_TLS_CA holds no certificate in PEM. Name the file of a CA, which begins with "
            "`-----BEGIN CERTIFICATE-----`."
        ) from None
    # The file may hold an intermediate CA without its root, as Secrets of cert-manager do.
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN


def _load_certificate(context: ssl.SSLContext, files: TlsFiles) -> None:
    cert, key = files.cert or "", files.key or ""
    _check_readable("DISTQ_TLS_CERT", cert)
    _check_readable("DISTQ_TLS_KEY", key)

    def refuse() -> str:
        raise TlsUnusable(
            f"The key in {key} of DISTQ_TLS_KEY is encrypted, and distq asks for no password. Give it a key without "
            "one: `openssl pkey -in KEY -out NEW-KEY`."
        )

    try:
        context.load_cert_chain(cert, key, refuse)
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise TlsUnusable(
                f"The key in {key} of DISTQ_TLS_KEY does not belong to the certificate in {cert} of DISTQ_TLS_CERT. "
                f"Name the two files of one certificate; {HOW_TO_MAKE}."
            ) from None
        raise TlsUnusable(
            f"The files {cert} of DISTQ_TLS_CERT and {key} of DISTQ_TLS_KEY are no certificate and key in PEM "
            f"({error.reason or 'not PEM'}). Name files that contain `-----BEGIN CERTIFICATE-----` and "
            f"`-----BEGIN PRIVATE KEY-----`; {HOW_TO_MAKE}."
        ) from None


def _check_readable(name: str, path: str) -> None:
    try:
        mode = os.stat(path).st_mode  # noqa: PTH116 - as in `stamp_of`
        if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):  # the open of a pipe would wait for its other end
            raise TlsUnusable(
                f"{name} is {path}, which is no regular file. Name a file, which distq reads several times."
            )
        with open(path, "rb") as file:  # noqa: PTH123 - as in `stamp_of`
            file.read(1)
    except OSError as error:
        raise TlsUnusable(
            f"{name} is {path}, which cannot be read by user {os.getuid()}: {error.strerror}. Name a file that this "
            "user may read."
        ) from None
