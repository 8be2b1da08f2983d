"""The settings of TLS, which the table of settings includes."""
# ruff: noqa: RUF009 - `_row` returns a fresh dataclass field each time, as `dataclasses.field` does

import dataclasses

from distq.settings import kinds
from distq.settings.address import Address
from distq.settings.keys_table import KeysSettings
from distq.settings.row import ALL, MASTER, WORKER
from distq.settings.row import row as _row

TLS = "TLS"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class TlsSettings(KeysSettings):
    """The settings of TLS; a master with a certificate, and a client or worker with a CA, use TLS."""

    tls_cert: str | None = _row(
        kinds.PATH,
        None,
        "File with the certificate of this process, and of intermediate CAs, in PEM; a master with one accepts only "
        "TLS.",
        TLS,
        ALL,
    )
    tls_key: str | None = _row(kinds.PATH, None, "File with the private key of DISTQ_TLS_CERT, in PEM.", TLS, ALL)
    tls_ca: str | None = _row(
        kinds.PATH,
        None,
        "File with the CA that has signed the other end's certificate, in PEM; clients and workers with one use TLS.",
        TLS,
        ALL,
    )
    tls_server_name: str | None = _row(
        kinds.HOST,
        None,
        "Name that the master's certificate must have, instead of the host of the address: for masters with one "
        "certificate at several addresses.",
        TLS,
        ALL,
    )
    tls_verify_clients: bool = _row(
        kinds.FLAG,
        "0",
        "Whether the master requires of clients and workers a certificate that DISTQ_TLS_CA has signed.",
        TLS,
        MASTER,
    )
    http_tls: bool = _row(
        kinds.FLAG,
        "1",
        "Whether the HTTP server uses TLS if DISTQ_TLS_CERT is set; it requires no client certificate.",
        TLS,
        MASTER | WORKER,
    )
    http_plain_keys: bool = _row(
        kinds.FLAG,
        "0",
        "Whether HTTP accepts keys and tokens without TLS from other machines; from its own it always does.",
        TLS,
        MASTER,
    )
    loopback_bind: Address | None = _row(
        kinds.ADDRESS,
        None,
        "Second address of the master, on loopback, that accepts connections without TLS, for standard-library "
        "programs.",
        TLS,
        MASTER,
    )
