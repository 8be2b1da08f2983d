"""The page of a master that stands by: who leads, with a link to the leader's page; it loads itself again."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Final

from starlette.responses import Response

from distq.settings.address import Address, parse_address
from distq.web.page.endpoints import HEADERS

if TYPE_CHECKING:
    from starlette.requests import Request

RELOAD_S: Final = 5
"""Seconds after which a browser loads the page again: this master may lead by then."""
_PAGE: Final = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>Standby \u2013 distq</title>
<link rel="icon" href="page/icon.svg">
<link rel="stylesheet" href="page/page.css">
</head>
<body>
<main>
<h1>This master stands by</h1>
{text}
<p class="quiet">This page loads itself again every {reload_s} seconds. If this master leads, it shows the cluster.</p>
</main>
</body>
</html>
"""


def accepts_html(request: Request) -> bool:
    """Whether a browser asks for a page, not a program for JSON."""
    return "text/html" in request.headers.get("accept", "")


def standby_html(request: Request, leader: str, waiting: str) -> Response:
    """Return the page; `leader` is the address of the leader, `waiting` says what the master waits for without one."""
    if leader:
        url = escape(_page_of(request, leader))
        text = (
            f'<p>The leader is {escape(leader)}. Its page is at <a href="{url}">{url}</a>, if it serves HTTP at '
            "the port of this master and your browser reaches it.</p>"
        )
    else:
        text = f"<p>No master leads now: {escape(waiting or 'the store is being opened')}.</p>"
    headers = {**HEADERS, "Refresh": str(RELOAD_S), "Retry-After": str(RELOAD_S)}
    return Response(_PAGE.format(text=text, reload_s=RELOAD_S), 503, headers, "text/html; charset=utf-8")


def _page_of(request: Request, leader: str) -> str:
    """Return the URL of the leader's page, which has the scheme and the port of this master's HTTP."""
    _, port = request.scope["server"]
    return f"{request.scope['scheme']}://{Address(parse_address(leader).host, port)}/"
