"""Who may submit over HTTP: a request with a key of the cluster as its bearer token (RFC 6750).

The token is the key itself, so it must not cross a network in plain text: without TLS it is accepted from this machine
only, unless a setting allows more. A wrong key is counted like a failed handshake, and answered after a pause that
grows with the failures of its address.
"""

from __future__ import annotations

import asyncio
import ipaddress
from collections import OrderedDict
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, Protocol

from distq.web.guard import connection_of
from distq.web.problems import Problem

if TYPE_CHECKING:
    from starlette.requests import Request

    from distq.net.keyring import KeyRing
    from distq.protocol.authority import Authority

PAUSE_S: Final = 0.1
"""Seconds before the answer to the first wrong key of an address; each further one doubles them."""
PAUSE_MAX_S: Final = 5.0
"""Maximum seconds before such an answer: longer than a person notices, shorter than a connection lives."""
FAILURES_KEPT_S: Final = 60.0
"""Seconds after its last wrong key for which the failures of an address are remembered."""
ADDRESSES_MAX: Final = 1_000
"""Maximum addresses whose failures are remembered, to bound memory; the oldest go."""
REALM: Final = 'Bearer realm="distq"'


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
        keys: the keys that the master accepts, and what each allows.
        gate: refuses requests that a key does not allow.
        note_failure: counts and logs a wrong key, by the peer's address and a reason.
        over_plain_http: whether other machines may send a key without TLS: DISTQ_HTTP_PLAIN_KEYS.
    """

    def __init__(
        self, keys: KeyRing, gate: HttpGate, note_failure: Callable[[str, str], None], *, over_plain_http: bool
    ) -> None:
        self._keys = keys
        self._gate = gate
        self._note_failure = note_failure
        self._over_plain_http = over_plain_http
        self._failures: OrderedDict[str, tuple[int, float]] = OrderedDict()
        """By address: the number of wrong keys, and the instant of the last one in the event loop's time."""

    async def check(self, request: Request, called: str) -> None:
        """Raise Problem (401, 403) or Forbidden unless the request has a key that allows it, sent in a safe way.

        `called` is its method and the pattern of its path, as in `POST /api/v1/tasks`.
        """
        host, port = request.client or ("", 0)
        if not (request.scope["scheme"] == "https" or self._over_plain_http or _is_loopback(host)):
            raise Problem(
                403,
                "A key is accepted over HTTP without TLS only from the master's own machine, because anyone on the "
                "way could read it. Set DISTQ_TLS_CERT and DISTQ_TLS_KEY, or, in a network that you trust or behind a "
                "proxy with TLS, DISTQ_HTTP_PLAIN_KEYS=1. Change a key that was sent in plain text.",
            )
        sent = request.headers.getlist("authorization")
        scheme, _, token = (sent[0] if len(sent) == 1 else "").partition(" ")
        if scheme.lower() != "bearer" or not token.strip():
            raise Problem(
                401,
                "This needs a key of the cluster: send the header 'Authorization: Bearer KEY', with a key of the "
                "master's DISTQ_AUTHKEY.",
                headers={"WWW-Authenticate": REALM},
            )
        authority = self._keys.authority_of_token(token.strip().encode("latin-1"))
        if authority is None:
            await self._refuse_key(request, host, port)
            return
        self._gate.check_http(authority, called)
        request.state.authority = authority

    def check_queue(self, request: Request, queue: str) -> None:
        """Raise Forbidden unless the key of a checked request may use a queue."""
        self._gate.check_queue(request.state.authority, queue)

    @staticmethod
    def is_limited(request: Request) -> bool:
        """Whether the key of a checked request is for some queues only."""
        return bool(request.state.authority.queues)

    async def _refuse_key(self, request: Request, host: str, port: int) -> None:
        self._note_failure(f"{host}:{port}", "The key of an HTTP request is not one of the cluster.")
        await connection_of(request).pause(self._pause_s(host))
        raise Problem(
            401,
            "The key is not one of this cluster. Send a key of the master's DISTQ_AUTHKEY.",
            headers={"WWW-Authenticate": f'{REALM}, error="invalid_token"'},
        )

    def _pause_s(self, host: str) -> float:
        """Seconds before the answer to a further wrong key of an address."""
        now = asyncio.get_running_loop().time()
        count, last_at = self._failures.pop(host, (0, now))
        count = 1 if now - last_at > FAILURES_KEPT_S else count + 1
        self._failures[host] = count, now
        if len(self._failures) > ADDRESSES_MAX:
            self._failures.popitem(last=False)
        return min(PAUSE_S * 2.0 ** min(count - 1, 20), PAUSE_MAX_S)


def _is_loopback(host: str) -> bool:
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return bool((mapped or address).is_loopback)
