"""The page of a master: its files, what it shows without a key, its session, and its actions."""

import json
import re
from typing import Any

import pytest
from tests.master.bench import Bench, on_bench
from tests.web.http_bench import AUTHORIZED, KEY, HttpBench

from distq.web.page import endpoints, session
from distq.web.page.endpoints import ACTIONS, FILES

NO_KEY = {"Authorization": ""}
FROM_PAGE = {"Origin": "http://distq"}
SECRET = "the argument of a customer"


class Browser:
    """A browser that has opened the page of a bench's master; it has no key until it signs in."""

    def __init__(self, bench: Bench) -> None:
        self.http = HttpBench(bench)
        self.http.client.headers.pop("Authorization")

    async def get(self, path: str, **headers: str) -> Any:
        """Return the JSON of an answer."""
        answer = await self.http.ask("GET", path, headers=headers)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def post(self, path: str, body: Any, headers: dict[str, str] | None = None) -> tuple[int, Any]:
        """Send JSON as the page does; return the status and the JSON of the answer."""
        given = FROM_PAGE if headers is None else headers
        answer = await self.http.ask("POST", path, json=body, headers=given)
        return answer.status_code, answer.json()

    async def sign_in(self) -> None:
        """Exchange the key for a cookie."""
        status, answer = await self.post("/page/session", {"token": KEY})
        assert (status, answer) == (200, {"signed_in": True})

    async def submit(self, **body: Any) -> str:
        """Submit a task with the key, and return its id."""
        headers = {"Authorization": AUTHORIZED["Authorization"]}
        task = {"name": "f", "queue": "q", "args": [SECRET], **body}
        answer = await self.http.ask("POST", "/api/v1/tasks", json=task, headers=headers)
        return str(answer.json()["id"])


@on_bench()
async def test_every_file_has_a_strict_policy_and_no_foreign_address(bench: Bench) -> None:
    """Scripts and styles come from the master only, none stands in the HTML, and all files together are small."""
    browser, size_bytes = Browser(bench), 0
    for path, (_, media_type) in FILES.items():
        answer = await browser.http.ask("GET", path)
        assert (answer.status_code, answer.headers["content-type"]) == (200, media_type)
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert not re.findall(r"(?:src|href|url\(|from |import\()\W*https?:", answer.text)
        assert not re.search(r"<style|\sstyle=|\son\w+=|innerHTML|document\.write|eval\(", answer.text)
        size_bytes += len(answer.content)
    assert size_bytes < 150_000


@on_bench()
async def test_a_reader_without_a_key_sees_no_argument(bench: Bench) -> None:
    """Names, states and counts are shown; arguments, keys of the task, headers and reasons are not."""
    browser = Browser(bench)
    task_id = await browser.submit(concurrency_key=SECRET, headers={"customer": SECRET})
    task = await browser.get(f"/page/read/show?id={task_id}")
    assert (task["name"], task["queue"], task["state"]) == ("f", "q", "ready")
    listed = await browser.get("/page/read/list?queue=q&states=waiting")
    assert [row["id"] for row in listed["tasks"]] == [task_id]
    assert SECRET not in json.dumps([task, listed])
    assert not {"why", "headers", "arguments", "holder", "causes", "concurrency_key"} & task.keys()


@on_bench()
async def test_a_session_shows_the_arguments(bench: Bench) -> None:
    """The cookie is for the page alone, no script can read it, and it is not the key."""
    browser = Browser(bench)
    task_id = await browser.submit()
    sent = await browser.http.ask("POST", "/page/session", json={"token": KEY}, headers=FROM_PAGE)
    cookie = sent.headers["set-cookie"]
    assert KEY not in cookie
    parts = {part.strip().lower() for part in cookie.split(";")}
    assert {"httponly", "samesite=strict"} <= parts
    assert "path=" not in cookie.lower()  # the browser takes the folder of the request, also below a proxy's prefix
    task = await browser.get(f"/page/read/show?id={task_id}")
    assert task["arguments"] == f"f({SECRET!r})"
    session_now = await browser.get("/page/session")
    assert session_now == {"signed_in": True, "key": "authkey", "reads": True, "acts": True}


@on_bench()
async def test_a_wrong_or_changed_cookie_is_no_session(bench: Bench) -> None:
    """A cookie whose instant was changed does not match its proof; one that is over does not count either."""
    browser = Browser(bench)
    await browser.sign_in()
    (cookie,) = [one.value for one in browser.http.client.cookies.jar]
    assert cookie is not None
    until, _, proof = cookie.partition(".")
    browser.http.client.cookies.clear()
    later = f"{int(until) + 1}.{proof}"
    for wrong in (later, f"{until}.{proof[:-1]}", f"{until}.", "1.2", f"-{until}.{proof}", "." * 9):
        assert await browser.get("/page/session", Cookie=f"{session.COOKIE}={wrong}") == {"signed_in": False}
    assert (await browser.get("/page/session", Cookie=f"{session.COOKIE}={cookie}"))["signed_in"] is True


def test_a_session_ends_by_its_instant(monkeypatch: pytest.MonkeyPatch) -> None:
    """The instant is in the proof; the browser's own limit is not trusted."""
    monkeypatch.setattr(session, "SESSION_S", 0)

    @on_bench()
    async def sign_in(bench: Bench) -> None:
        browser = Browser(bench)
        sent = await browser.http.ask("POST", "/page/session", json={"token": KEY}, headers=FROM_PAGE)
        cookie = sent.headers["set-cookie"].split(";")[0]
        assert await browser.get("/page/session", Cookie=cookie) == {"signed_in": False}

    sign_in()


@on_bench()
async def test_a_wrong_token_is_refused_and_not_repeated(bench: Bench) -> None:
    """The refusal is that of a wrong key in the API, which is counted and answered late."""
    browser = Browser(bench)
    sent = browser.http.start(
        "POST", "/page/session", json={"token": "a wrong token of some length"}, headers=FROM_PAGE
    )
    answer = await sent
    assert answer.status_code == 401
    assert "a wrong token" not in answer.text
    assert "set-cookie" not in answer.headers


@on_bench()
async def test_an_action_needs_a_session(bench: Bench) -> None:
    """Without one the task stays."""
    browser = Browser(bench)
    task_id = await browser.submit()
    status, answer = await browser.post("/page/act/cancel", {"ids": [task_id]})
    assert (status, "needs a session" in answer["detail"]) == (401, True)
    assert (await browser.get(f"/page/read/show?id={task_id}"))["state"] == "ready"


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "http://distq", "Sec-Fetch-Site": "cross-site"},
        {"Origin": "http://distq", "Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "same-origin"},
        {"Origin": "null"},
        {"Origin": "https://["},
        {},
    ],
)
def test_an_action_of_another_site_is_refused(headers: dict[str, str]) -> None:
    """Also with the cookie: a page of another site, or of another port of this machine, cannot act."""

    @on_bench()
    async def act(bench: Bench) -> None:
        browser = Browser(bench)
        await browser.sign_in()
        task_id = await browser.submit()
        for path, body in (("/page/act/cancel", {"ids": [task_id]}), ("/page/session", {"token": KEY})):
            status, answer = await browser.post(path, body, headers)
            assert (status, answer["code"]) == (403, "OTHER_ORIGIN")
        assert (await browser.get(f"/page/read/show?id={task_id}"))["state"] == "ready"

    act()


@on_bench()
async def test_a_form_cannot_act(bench: Bench) -> None:
    """An action takes JSON only, which a form of another site cannot send."""
    browser = Browser(bench)
    await browser.sign_in()
    answer = await browser.http.ask("POST", "/page/act/cancel", data={"ids": "1-1"}, headers=FROM_PAGE)
    assert answer.status_code == 415


@pytest.fixture
def logged(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Return the actions that the log records."""
    lines: list[dict[str, Any]] = []
    monkeypatch.setattr(endpoints, "log_output", lambda event, **fields: lines.append({"event": event, **fields}))
    return lines


def test_actions_change_tasks_and_queues_and_are_logged(logged: list[dict[str, Any]]) -> None:
    """Each action is one line with its author and outcome; a dry run is none."""

    @on_bench()
    async def act(bench: Bench) -> None:
        browser = Browser(bench)
        await browser.sign_in()
        task_id = await browser.submit()
        counted = await browser.post("/page/act/cancel", {"queue": "q", "dry_run": True})
        assert counted == (200, {"done": 1, "running": [], "over": 0})
        status, answer = await browser.post("/page/act/cancel", {"ids": [task_id]})
        assert (status, answer["done"]) == (200, 1)
        assert (await browser.get(f"/page/read/show?id={task_id}"))["state"] == "cancelled"
        assert (await browser.post("/page/act/pause", {"queue": "q"}))[1]["queues"][0]["paused"] is True
        status, answer = await browser.post("/page/act/schedule_run", {"name": "none"})
        assert (status, "no schedule 'none'" in answer["detail"]) == (422, True)
        assert task_id in logged[0]["asked"]

    act()
    assert [line["action"] for line in logged] == ["cancel", "pause", "schedule_run"]
    assert {(line["event"], line["peer"]) for line in logged} == {("http_action_taken", "127.0.0.1:4321")}
    assert "no schedule" in logged[2]["outcome"]


def test_a_proxys_user_is_logged_only_with_a_key(logged: list[dict[str, Any]]) -> None:
    """A proxy that adds the key names its user; a browser with a cookie cannot name another one."""

    @on_bench()
    async def act(bench: Bench) -> None:
        browser = Browser(bench)
        named = {**FROM_PAGE, "X-Forwarded-User": "ann"}
        await browser.post("/page/act/pause", {"queue": "q"}, {**named, **AUTHORIZED})
        await browser.sign_in()
        await browser.post("/page/act/pause", {"queue": "q"}, named)

    act()
    assert [line["user"] for line in logged] == ["ann", None]


@on_bench()
async def test_only_the_pages_own_calls_are_reachable(bench: Bench) -> None:
    """A backup, a stack or a new schedule are for the command line; unknown fields are refused too."""
    browser = Browser(bench)
    await browser.sign_in()
    assert (await browser.post("/page/act/backup_begin", {}))[0] == 404
    assert (await browser.http.ask("GET", "/page/read/backup_read")).status_code == 404
    for what in ACTIONS:
        status, answer = await browser.post(f"/page/act/{what}", {"must_exist": 1})
        assert (status, "no field" in answer["detail"]) == (422, True)
    for wrong in ("limit=x", "limit=1&limit=2", "nothing=1", "view=failures", "offset=-1"):
        assert (await browser.http.ask("GET", f"/page/read/live?{wrong}")).status_code == 400


def test_a_page_of_rows_is_never_all_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """A larger limit is lowered; the next page begins after the last row."""
    monkeypatch.setattr(endpoints, "ROWS_MAX", 2)

    @on_bench()
    async def turn(bench: Bench) -> None:
        browser = Browser(bench)
        ids = [await browser.submit() for _ in range(3)]
        first = await browser.get("/page/read/list?limit=9999&states=waiting")
        assert [row["id"] for row in first["tasks"]] == ids[:2]
        second = await browser.get(f"/page/read/list?states=waiting&after={first['next']}")
        assert ([row["id"] for row in second["tasks"]], second["next"]) == (ids[2:], None)

    turn()


@on_bench()
async def test_related_tasks_are_there_in_both_directions(bench: Bench) -> None:
    """A task without dependencies has none."""
    browser = Browser(bench)
    task_id = await browser.submit()
    related = (await browser.get(f"/page/read/show?id={task_id}"))["related"]
    assert related == {"upstream": [], "upstream_count": 0, "downstream": [], "downstream_count": 0}
    answer = await browser.http.ask("GET", "/page/read/show?id=1-ffff")
    assert (answer.status_code, "does not know task" in answer.text) == (422, True)


def test_readers_without_a_key_do_not_hold_up_a_reader_with_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """All places for reads without a key are taken: the next one waits, and one with a key is answered."""
    monkeypatch.setattr(endpoints, "READS_MAX", 0)
    monkeypatch.setattr(endpoints, "STREAMS_MAX", 0)

    @on_bench()
    async def read(bench: Bench) -> None:
        browser = Browser(bench)
        waiting = browser.http.start("GET", "/page/read/schedule_list")
        await browser.http.settle()
        assert not waiting.done()
        assert await browser.get("/page/read/schedule_list", **AUTHORIZED) == {"schedules": []}
        waiting.cancel()
        refused = await browser.http.ask("GET", "/page/events")
        assert (refused.status_code, "sign in" in refused.json()["detail"]) == (429, True)

    read()
