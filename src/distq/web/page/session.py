"""Who sees more than names and counts, and may act: a request with a key as its bearer token, or with a session cookie.

A browser gets the cookie for a key that a person has typed. It holds the instant of its end and a proof (HMAC) of the
key, not the key: it ends with the key, outlives a restart of the master, and opens nothing but the page.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import TYPE_CHECKING, Final

from distq.web.bearer import bearer_token, peer_of
from distq.web.problems import Problem

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

    from distq.protocol.authority import Authority
    from distq.web.bearer import BearerKeys

COOKIE: Final = "distq_session"
SESSION_S: Final = 12 * 3600
"""Seconds until a session ends: a working day."""
TOKEN_BYTES_MAX: Final = 4096
NOT_ACCEPTED: Final = (
    "This token is not one of the master's DISTQ_HTTP_TOKEN, nor a key of the cluster. Ask an operator of the cluster "
    "for a token."
)
UNTIL_DIGITS_MAX: Final = 19
"""Digits from which on an instant in a cookie is not read: this server has made none."""


class Sessions:
    """Makes and checks session cookies; `now` gives the seconds since 1970."""

    def __init__(self, keys: BearerKeys) -> None:
        self._keys = keys

    async def begin(self, request: Request, token: str, now: float, response: Response) -> None:
        """Set the cookie for a key; raises Problem (401, 403)."""
        self._keys.check_transport(request)
        given = token.encode("utf-8", "replace")[:TOKEN_BYTES_MAX]
        await self._keys.authority_of(request, given, refusal=NOT_ACCEPTED)
        until = str(int(now) + SESSION_S)
        response.set_cookie(
            COOKIE,
            f"{until}.{proof_of(given, until)}",
            max_age=SESSION_S,
            path=None,  # the browser takes the folder of this request: `/page`, or that below a proxy's prefix
            secure=_is_https(request),
            httponly=True,
            samesite="strict",
        )

    def end(self, request: Request, response: Response) -> None:
        """Remove the cookie from the browser."""
        response.set_cookie(
            COOKIE, "", max_age=0, path=None, secure=_is_https(request), httponly=True, samesite="strict"
        )

    async def authority(self, request: Request, now: float) -> Authority | None:
        """Return what the key of a request or of its cookie allows, None without one; raises Problem (401, 403)."""
        token = bearer_token(request)
        if token is not None:
            self._keys.check_transport(request)
            return await self._keys.authority_of(request, token)
        until, _, proof = request.cookies.get(COOKIE, "").partition(".")
        if not (until.isascii() and until.isdecimal() and len(until) < UNTIL_DIGITS_MAX and int(until) > now):
            return None
        sent, found = proof.encode("utf-8", "replace"), None
        for ring in self._keys.rings:
            for key in ring.keys:  # all: the time says nothing of the key
                if hmac.compare_digest(proof_of(key, until).encode(), sent):
                    found = ring, key
        if found is None:
            return None
        self._keys.check_transport(request)
        ring, key = found
        return ring.authority_of(key, peer_of(request))


def check_same_origin(request: Request) -> None:
    """Raise Problem (403) unless the page itself has sent the request: another site's page cannot.

    Browsers set these headers, and no script can change them. A body in JSON is the second hurdle: a form cannot send
    it, and a script of another site would first have to ask, which is never allowed.
    """
    site = request.headers.get("sec-fetch-site")
    origin = request.headers.get("origin", "")
    host = request.headers.get("host")
    same = site == "same-origin" if site is not None else origin.partition("://")[2] == host
    if not (origin and host and same):
        raise Problem(
            403,
            "An action is accepted only from the page itself, as the headers Origin and Host or Sec-Fetch-Site show. "
            "Use the command line or /api/v1 from a program.",
            code="OTHER_ORIGIN",
        )


def proof_of(key: bytes, until: str) -> str:
    """The proof of a key in a cookie that ends at this instant."""
    return hmac.new(key, f"distq page session {until}".encode(), hashlib.sha256).hexdigest()


def _is_https(request: Request) -> bool:
    """Whether the browser uses TLS: to this server, or to a proxy in front of it."""
    return request.scope["scheme"] == "https" or request.headers.get("origin", "").startswith("https://")
