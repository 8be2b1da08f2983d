"""The page of a master that stands by."""

import asyncio

import httpx
import pytest
from tests.metrics.fakes import FakeStandby

from distq.web.app import create_standby_app

BROWSER = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}


def ask(standby: FakeStandby, method: str, path: str, **headers: str) -> httpx.Response:
    """Send one request to the HTTP port 9001 of a standby."""

    async def sent() -> httpx.Response:
        transport = httpx.ASGITransport(create_standby_app(standby))
        async with httpx.AsyncClient(transport=transport, base_url="http://standby:9001") as client:
            return await client.request(method, path, headers=headers)

    return asyncio.run(sent())


@pytest.mark.parametrize("leader", ["10.0.0.7", "[fd00::7]", "master-0.masters"])
def test_a_browser_at_a_standby_gets_a_page_with_a_link_to_the_leader(leader: str) -> None:
    """The page of the leader is at the port of HTTP, not at the one of its address; a program gets JSON as before."""
    answer = ask(FakeStandby(f"{leader}:9000"), "GET", "/", **BROWSER)
    assert (answer.status_code, answer.headers["content-type"]) == (503, "text/html; charset=utf-8")
    assert f'<a href="http://{leader}:9001/">' in answer.text
    assert (answer.headers["refresh"], answer.headers["retry-after"]) == ("5", "5")
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    problem = (ask(FakeStandby(f"{leader}:9000"), "GET", "/")).json()
    assert (problem["code"], f"{leader}:9000" in problem["detail"]) == ("STANDS_BY", True)


def test_the_page_without_a_leader_says_what_the_master_waits_for() -> None:
    """A text from the store is no HTML."""
    answer = ask(FakeStandby("", "the store says <b>no</b>"), "GET", "/", **BROWSER)
    assert "No master leads now: the store says &lt;b&gt;no&lt;/b&gt;." in answer.text
    assert "<a " not in answer.text


@pytest.mark.parametrize(
    ("method", "path"),
    [
        *[("GET", path) for path in ("/page/session", "/page/events", "/page/read/live")],
        *[("POST", path) for path in ("/page/session", "/page/act/cancel")],
    ],
)
def test_a_page_that_is_open_learns_that_its_master_stands_by(method: str, path: str) -> None:
    """The page then loads itself again, and the files that it needs are there."""
    answer = ask(FakeStandby(), method, path)
    assert (answer.status_code, answer.json()["code"]) == (503, "STANDS_BY")
    assert (ask(FakeStandby(), "GET", "/page/page.css")).status_code == 200
