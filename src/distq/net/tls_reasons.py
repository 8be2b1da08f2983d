"""Why a TLS connection was not made: the sentences for the client, the worker and the master's log, with what to do."""

import ssl
from typing import Final

RECORD_TYPES: Final = range(0x14, 0x19)
"""The first byte of every TLS record; anything else is no TLS."""

TLS_HELLO: Final = b"\x16\x03"
"""The first bytes of a TLS handshake."""
TLS_HELLO_S: Final = 1.0
"""Seconds in which a peer at a port with TLS must begin the handshake; a peer without TLS would wait for ever."""

EXPIRED: Final = 10
NOT_YET_VALID: Final = 9
WRONG_NAME: Final = frozenset({62, 64})
"""OpenSSL's numbers of a certificate for another host name, or for another IP address."""

CLIENT_CLAUSES: Final = {
    "TLSV1_ALERT_PROTOCOL_VERSION": "It offers no TLS 1.3. Give it OpenSSL 1.1.1 or newer, and allow TLS 1.3 there.",
    "UNSUPPORTED_PROTOCOL": "It offers no TLS 1.3. Give it OpenSSL 1.1.1 or newer, and allow TLS 1.3 there.",
    "TLSV13_ALERT_CERTIFICATE_REQUIRED": (
        "It requires a certificate of this program. Set DISTQ_TLS_CERT and DISTQ_TLS_KEY to files that the master's "
        "DISTQ_TLS_CA has signed."
    ),
    "TLSV1_ALERT_UNKNOWN_CA": (
        "It does not accept this program's certificate, because its own DISTQ_TLS_CA has not signed it. Set "
        "DISTQ_TLS_CERT and DISTQ_TLS_KEY to files that this CA has signed."
    ),
    "SSLV3_ALERT_CERTIFICATE_EXPIRED": (
        "It does not accept this program's certificate, which has expired. Renew the file of DISTQ_TLS_CERT here."
    ),
    "SSLV3_ALERT_CERTIFICATE_UNKNOWN": (
        "It does not accept this program's certificate. Check DISTQ_TLS_CERT here and DISTQ_TLS_CA there."
    ),
    "SSLV3_ALERT_UNSUPPORTED_CERTIFICATE": (
        "It does not accept this program's certificate, which is not made for clients. Set DISTQ_TLS_CERT to one with "
        "the extended key usage clientAuth."
    ),
}
"""The client's sentences, by OpenSSL's names of the errors."""
SERVER_CLAUSES: Final = {
    "UNSUPPORTED_PROTOCOL": "it offers no TLS 1.3: give it OpenSSL 1.1.1 or newer",
    "TLSV1_ALERT_PROTOCOL_VERSION": "it offers no TLS 1.3: give it OpenSSL 1.1.1 or newer",
    "PEER_DID_NOT_RETURN_A_CERTIFICATE": "it presents no certificate: set DISTQ_TLS_CERT and DISTQ_TLS_KEY there",
    "HTTP_REQUEST": "it sends HTTP without TLS to the port of clients and workers",
    "TLSV1_ALERT_UNKNOWN_CA": "it does not trust this master's certificate: its DISTQ_TLS_CA has not signed it",
    "SSLV3_ALERT_BAD_CERTIFICATE": (
        "it does not accept this master's certificate, which may not have the host name of its DISTQ_ADDRESS"
    ),
    "SSLV3_ALERT_CERTIFICATE_EXPIRED": "it does not accept this master's certificate, which has expired: renew it",
}
"""The reasons in the master's log."""
NO_TLS_THERE: Final = (
    "What listens there speaks no TLS. Set DISTQ_TLS_CERT and DISTQ_TLS_KEY on the master, or remove DISTQ_TLS_CA here "
    "to connect without TLS."
)
NO_TLS_HERE: Final = "it sends bytes that are no TLS, which this port requires: set DISTQ_TLS_CA there"
NO_TLS_AT_THIS_PORT: Final = (
    "it speaks TLS, which this port does not: set DISTQ_TLS_CERT and DISTQ_TLS_KEY here, or remove DISTQ_TLS_CA there"
)
NO_HELLO: Final = (
    "it waits without a TLS handshake, as a connection without TLS does: set DISTQ_TLS_CA there, or use `distq tunnel`"
)


def client_reason(error: ssl.SSLError, first: bytes, host: str) -> str:
    """Return the sentences for a client or worker; `first` are the first bytes from the other end."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return _of_certificate(error, host)
    if not _is_tls(first):
        return NO_TLS_THERE
    name = error.reason or str(error)
    return CLIENT_CLAUSES.get(name, f"The TLS connection failed ({name}).")


def server_reason(error: ssl.SSLError, first: bytes, _host: str) -> str:
    """Return the reason for the master's log; `first` are the first bytes from the peer."""
    if isinstance(error, ssl.SSLCertVerificationError):
        text = error.verify_message
        return f"its certificate is not accepted ({text}): set DISTQ_TLS_CERT there to one that DISTQ_TLS_CA has signed"
    name = error.reason or str(error)
    if name not in SERVER_CLAUSES and not _is_tls(first):
        return NO_TLS_HERE
    return SERVER_CLAUSES.get(name, f"the TLS connection failed ({name})")


def _is_tls(first: bytes) -> bool:
    return not first or first[0] in RECORD_TYPES


def _of_certificate(error: ssl.SSLCertVerificationError, host: str) -> str:
    if error.verify_code in WRONG_NAME:
        return (
            f"Its certificate is not for the name {host}. Write a name of the certificate into DISTQ_ADDRESS or "
            "DISTQ_TLS_SERVER_NAME, or give the master a certificate with this name."
        )
    if error.verify_code == EXPIRED:
        return "Its certificate, or its CA, has expired. Renew the file of the master's DISTQ_TLS_CERT."
    if error.verify_code == NOT_YET_VALID:
        return "Its certificate is not valid yet. Check the clocks of both machines."
    return (
        f"DISTQ_TLS_CA has not signed its certificate ({error.verify_message}). Set it to the file of the CA that has, "
        "and let the master's DISTQ_TLS_CERT include intermediate CAs."
    )
