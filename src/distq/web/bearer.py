"""Who may submit over HTTP: a request with a key of the cluster as its bearer token (RFC 6750).

The token is the key itself, so it must not cross a network in plain text: without TLS it is accepted from this machine
only, unless a setting allows more. A wrong key is counted like a failed handshake, and answered after a pause that
grows with the failures of its address.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final, Protocol

from distq.web.guard import connection_of
from distq.web.problems import Problem

if TYPE_CHECKING:
    from starlette.requests import Request

    from distq.net.failed_keys import FailedKeys
    from distq.net.keyring import KeyRing
    from distq.protocol.authority import Authority

REALM: Final = 'Bearer realm="distq"'
NOT_A_KEY: Final = (
    "The key is not one of this cluster. Send a key of the master's DISTQ_AUTHKEY or DISTQ_KEYS_PATH, or a token of "
    "its DISTQ_HTTP_TOKEN."
)


class HttpGate(Protocol):
    """The part of the master's gate that the HTTP side uses."""

    def check_http(self, authority: Authority, request: str) -> None:
        """Check a request, as in `POST /api/v1/tasks`; raises Forbidden."""
        ...

    def check_queue(self, authority: Authority, queue: str) -> None:
        """Check that a request may use a queue; raises Forbidden."""
        ...


class BearerKeys:
    """The keys of the cluster, as tokens.

    Args:
        rings: the keys that the master accepts, and the tokens of DISTQ_HTTP_TOKEN; what each allows.
        gate: refuses requests that a key does not allow.
        failed: the pauses of addresses with wrong keys.
        note_failure: counts and logs a wrong key, by the peer's address and a reason.
        over_plain_http: whether other machines may send a key without TLS: DISTQ_HTTP_PLAIN_KEYS.
    """

    def __init__(
        self,
        rings: Sequence[KeyRing],
        gate: HttpGate,
        failed: FailedKeys,
        note_failure: Callable[[str, str], None],
        *,
        over_plain_http: bool,
    ) -> None:
        self.rings = rings
        self._gate = gate
        self._note_failure = note_failure
        self._over_plain_http = over_plain_http
        self._failed = failed

    async def check(self, request: Request, called: str) -> None:
        """Raise Problem (401, 403) or Forbidden unless the request has a key that allows it, sent in a safe way.

        `called` is its method and the pattern of its path, as in `POST /api/v1/tasks`.
        """
        self.check_transport(request)
        token = bearer_token(request)
        if token is None:
            raise Problem(
                401,
                "This needs a key of the cluster: send the header 'Authorization: Bearer KEY', with a key of the "
                "master's DISTQ_AUTHKEY or DISTQ_KEYS_PATH.",
                headers={"WWW-Authenticate": REALM},
            )
        authority = await self.authority_of(request, token)
        self._gate.check_http(authority, called)
        request.state.authority = authority

    def check_transport(self, request: Request) -> None:
        """Raise Problem (403) if the request came from another machine without TLS."""
        host, _ = request.client or ("", 0)
        if not (request.scope["scheme"] == "https" or self._over_plain_http or _is_loopback(host)):
            raise Problem(
                403,
                "A key is accepted over HTTP without TLS only from the master's own machine, because anyone on the "
                "way could read it. Set DISTQ_TLS_CERT and DISTQ_TLS_KEY, or, in a network that you trust or behind a "
                "proxy with TLS, DISTQ_HTTP_PLAIN_KEYS=1. Change a key that was sent in plain text.",
            )

    async def authority_of(self, request: Request, token: bytes, *, refusal: str = NOT_A_KEY) -> Authority:
        """Return what a token allows; raises Problem (401), with the text `refusal`, after a pause, if it is no key."""
        peer = peer_of(request)
        found = [ring.authority_of_token(token, peer) for ring in self.rings]  # all: the time says nothing of the key
        for authority in found:
            if authority is not None:
                return authority
        raise await self._refusal(request, refusal)

    def check_queue(self, request: Request, queue: str) -> None:
        """Raise Forbidden unless the key of a checked request may use a queue."""
        self._gate.check_queue(request.state.authority, queue)

    @staticmethod
    def is_limited(request: Request) -> bool:
        """Whether the key of a checked request is for some queues only."""
        return bool(request.state.authority.queues)

    async def _refusal(self, request: Request, sentence: str) -> Problem:
        """Count and log a wrong key, and return the refusal after a pause."""
        host, _ = request.client or ("", 0)
        self._note_failure(peer_of(request), "The key of an HTTP request is not one of the cluster.")
        pause_s = self._failed.begin_pause(host)
        try:
            await connection_of(request).pause(pause_s)
        finally:
            self._failed.end_pause(host)
        return Problem(
            401,
            sentence,
            headers={"WWW-Authenticate": f'{REALM}, error="invalid_token"'},
        )


def peer_of(request: Request) -> str:
    """The address that sent a request, as logs show it."""
    host, port = request.client or ("", 0)
    return f"{host}:{port}"


def bearer_token(request: Request) -> bytes | None:
    """The token of a request's `Authorization` header, None without one."""
    sent = request.headers.getlist("authorization")
    scheme, _, token = (sent[0] if len(sent) == 1 else "").partition(" ")
    return token.strip().encode("latin-1") if scheme.lower() == "bearer" and token.strip() else None


def _is_loopback(host: str) -> bool:
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return bool((mapped or address).is_loopback)
