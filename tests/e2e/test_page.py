"""The page of a real master in a real browser: its views, its events, its session and its actions."""

import asyncio
import http.client
import json
import shutil
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Dialog, Page, Route, expect, sync_playwright
from starlette.types import ASGIApp
from tests.e2e.cluster import KEY, Cluster
from tests.e2e.page_proxy import PREFIX, proxy
from tests.e2e.tasks import square
from tests.metrics.fakes import FakeStandby
from tests.net.certificates import Authority
from tests.waiting import SOON_S

from distq import call
from distq.settings.address import Address
from distq.web.app import create_standby_app
from distq.web.server import HttpServer

pytestmark = [pytest.mark.chromium, pytest.mark.xdist_group("chromium"), pytest.mark.timeout(300)]

TOKEN = "a token of the tests for browsers"
TURNED = "\u202egpj.exe"
"""A name with a character that turns the direction of what follows."""
HOSTILE = '"><img src=x onerror=alert(1)>'
"""A name that would run a script if the page took it for HTML."""
VIEWS = ("queues", "workers", "running", "tasks?state=ended", "dead", "schedules")
DIVIDE, SQUARE = "tests.e2e.tasks:divide", "square"
ANY_CA: dict[str, Any] = {"ignore_https_errors": True}
"""Option of a browser that does not know the CA of the tests."""
expect.set_options(timeout=SOON_S * 1000)


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """Yield the browser of Debian."""
    with sync_playwright() as playwright:
        path = shutil.which("chromium")
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-dev-shm-usage"])
        yield browser
        browser.close()


@pytest.fixture
def master(grid: Cluster) -> Cluster:
    """Return a cluster whose master serves the page and accepts a token."""
    started = grid.master(DISTQ_HTTP_ADDRESS=f"127.0.0.1:{grid.http_port}", DISTQ_HTTP_TOKEN=TOKEN)
    started.logs("http_listened")
    return grid


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Return the CA of the proxies."""
    return Authority(tmp_path_factory.mktemp("tls"))


def submit(grid: Cluster, name: str, *args: Any, **fields: Any) -> str:
    """Submit a task over HTTP, and return its id."""
    connection = http.client.HTTPConnection("127.0.0.1", grid.http_port, timeout=SOON_S)
    try:
        headers = {"Authorization": f"Bearer {KEY}", "Content-Type": "application/json"}
        connection.request("POST", "/api/v1/tasks", json.dumps({"name": name, "args": args, **fields}), headers)
        return str(json.loads(connection.getresponse().read())["id"])
    finally:
        connection.close()


@contextmanager
def opened(
    chromium: Browser, grid: Cluster, view: str = "", *, url: str = "", refusals: int = 0, **options: Any
) -> Iterator[Page]:
    """Open the page; the test fails if a script fails, the policy forbids something, or a dialog of a script opens.

    `refusals` is the number of requests that the test has the master refuse, which the browser logs as errors.
    """
    context = chromium.new_context(**options)
    page = context.new_page()
    problems: list[str] = []

    def dismiss(dialog: Dialog) -> None:
        problems.append(f"a dialog: {dialog.message}")
        dialog.dismiss()

    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("console", lambda said: problems.append(said.text) if said.type in ("error", "warning") else None)
    page.on("dialog", dismiss)
    page.goto(f"{url or f'http://127.0.0.1:{grid.http_port}/'}{view and '#/'}{view}")
    expect(page.get_by_text("Connected to the master.")).to_be_visible()
    yield page
    context.close()
    refused = [problem for problem in problems if "the server responded with a status of 401" in problem]
    assert (problems, len(refused)) == (refused, refusals)


def sign_in(page: Page, token: str = TOKEN) -> None:
    """Type a token into the dialog."""
    page.get_by_role("button", name="Sign in").click()
    page.get_by_label("Token").fill(token)
    page.locator("#sign-in").get_by_role("button", name="Sign in").click()


def confirm(page: Page, question: str) -> None:
    """Confirm an action whose dialog has this text."""
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text(question)
    dialog.get_by_role("button", name="Confirm").click()


def show(page: Page, view: str) -> None:
    """Go to another view, and wait until it has its data."""
    page.evaluate("view => { location.hash = `#/${view}`; }", view)
    expect(page.locator("main h1")).to_be_visible()
    expect(page.get_by_text("Searching.")).to_have_count(0)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_every_view_is_accessible_and_fits(chromium: Browser, master: Cluster, scheme: str, width: int) -> None:
    """Axe finds nothing in any view, with and without a session, and none is wider than the screen."""
    master.tasks(2)
    dead = submit(master, DIVIDE, 1, 0)
    submit(master, HOSTILE, HOSTILE, queue=HOSTILE)
    options: dict[str, Any] = {"color_scheme": scheme, "viewport": {"width": width, "height": 800}}
    with opened(chromium, master, **options) as page:
        for is_signed_in in (False, True):
            if is_signed_in:
                sign_in(page)
                expect(page.get_by_role("button", name="Sign out")).to_be_visible()
            for view in (*VIEWS, f"task/{dead}"):
                show(page, view)
                found = Axe().run(page)
                assert found.violations_count == 0, f"{view}\n{found.generate_report()}"
                assert page.evaluate("document.documentElement.scrollWidth") <= width, view


def test_names_and_errors_of_tasks_are_text(chromium: Browser, master: Cluster) -> None:
    """A task's name, queue and argument that are HTML are shown as they are, and run nothing."""
    task_id = submit(master, HOSTILE, HOSTILE, queue=HOSTILE)
    with opened(chromium, master) as page:
        expect(page.get_by_role("link", name=HOSTILE, exact=True)).to_be_visible()
        sign_in(page)
        expect(page.get_by_role("button", name="Sign out")).to_be_visible()
        page.get_by_role("link", name=HOSTILE, exact=True).click()
        page.get_by_role("link", name=task_id).click()
        expect(page.get_by_role("heading", name=HOSTILE)).to_be_visible()
        expect(page.get_by_role("region", name="Arguments")).to_contain_text(HOSTILE)
        assert page.locator("img").count() == 0


def test_names_that_turn_the_direction_of_a_text_are_escaped(chromium: Browser, master: Cluster) -> None:
    """`exe.gpj` with a turned direction reads `jpg.exe`; a question about an action shows the escape too."""
    submit(master, "f", queue=TURNED)
    with opened(chromium, master) as page:
        sign_in(page)
        row = page.get_by_role("row", name="\\u202egpj.exe")
        row.get_by_role("button", name="Pause").click()
        confirm(page, "Pause the queue \\u202egpj.exe?")
        expect(row).to_contain_text("paused")


def test_a_long_word_of_an_error_does_not_widen_the_page(chromium: Browser, master: Cluster) -> None:
    """On a phone neither, where the reason of the end has the word too."""
    master.tasks()
    dead = submit(master, "tests.e2e.tasks:raises", "v" * 10_000, retries=0)
    master.processes[0].logs("task_buried")
    with opened(chromium, master, f"task/{dead}", viewport={"width": 390, "height": 800}) as page:
        sign_in(page)
        expect(page.get_by_role("region", name="Error and traceback")).to_contain_text("vvvv")
        assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_an_action_on_a_task_that_was_retried_meanwhile_says_so(chromium: Browser, master: Cluster) -> None:
    """The page has asked whether to retry a dead letter, and another operator was faster."""
    worker = master.tasks()
    dead = submit(master, DIVIDE, 1, 0, retries=0)
    master.processes[0].logs("task_buried")
    with opened(chromium, master, "dead") as page:
        sign_in(page)
        page.get_by_label(f"Select {dead}").check()
        page.get_by_role("button", name="Retry selected").click()
        expect(page.get_by_role("dialog")).to_contain_text("Retry 1 dead letter?")
        worker.signal(signal.SIGTERM)
        assert worker.ends() == 0
        assert master.run("dead", "retry", dead).ends() == 0
        confirm(page, "Retry 1 dead letter?")
        expect(page.locator(".notice")).to_have_text("Done: 0. 1 are no longer dead letters.")


def test_a_tab_learns_that_another_one_has_signed_out(chromium: Browser, master: Cluster) -> None:
    """Its actions are refused with a sentence, which no script error replaces, and it offers to sign in again."""
    submit(master, "f", queue="mail")
    with opened(chromium, master, refusals=2) as page:
        sign_in(page)
        row = page.get_by_role("row", name="mail")
        expect(row.get_by_role("button", name="Pause")).to_be_visible()
        page.context.clear_cookies()
        for action in ("Pause", "Purge"):
            row.get_by_role("button", name=action).click()
            if action == "Pause":
                confirm(page, "Pause the queue mail?")
            expect(page.locator(".notice")).to_contain_text("Refused: An action needs a session")
        expect(page.get_by_role("button", name="Sign in", exact=True)).to_be_visible()


def test_numbers_are_live_and_come_back_after_a_restart(chromium: Browser, grid: Cluster) -> None:
    """The page needs no reload: neither for new tasks nor for a new master."""
    settings = {"DISTQ_HTTP_ADDRESS": f"127.0.0.1:{grid.http_port}"}
    first = grid.master(**settings)
    first.logs("http_listened")
    with opened(chromium, grid) as page:
        row = page.get_by_role("row", name="mail")
        submit(grid, "f", queue="mail")
        expect(row.get_by_role("cell").nth(1)).to_have_text("1")
        submit(grid, "f", queue="mail")
        expect(row.get_by_role("cell").nth(1)).to_have_text("2")
    context = chromium.new_context()
    page = context.new_page()
    page.goto(f"http://127.0.0.1:{grid.http_port}/")
    expect(page.get_by_text("Connected to the master.")).to_be_visible()
    first.destroy()
    expect(page.get_by_text("The master does not answer")).to_be_visible()
    grid.master(**settings).logs("http_listened")
    expect(page.get_by_text("Connected to the master.")).to_be_visible()
    context.close()


def test_a_reader_without_a_token_sees_no_argument_and_no_button(chromium: Browser, master: Cluster) -> None:
    """A wrong token is refused in the dialog, which then accepts the right one."""
    master.tasks()
    dead = submit(master, DIVIDE, 12345, 0)
    with opened(chromium, master, f"task/{dead}") as page:
        expect(page.get_by_text("Sign in to see the arguments")).to_be_visible()
        assert "12345" not in page.content()
        assert page.locator("main button").count() == 0


def test_enter_in_the_field_of_the_token_signs_in(chromium: Browser, master: Cluster) -> None:
    """Enter presses the first button of the form, which was Cancel: the dialog closed without a session."""
    with opened(chromium, master, refusals=1) as page:
        page.get_by_role("button", name="Sign in").click()
        page.get_by_label("Token").fill("wrong")
        page.get_by_label("Token").press("Enter")
        expect(page.locator("#sign-in-error")).to_contain_text("This token is not one of the master's DISTQ_HTTP_TOKEN")
        page.get_by_label("Token").fill(TOKEN)
        page.get_by_label("Token").press("Enter")
        expect(page.get_by_role("button", name="Sign out")).to_be_visible()


def test_one_tasks_life_is_a_timeline(chromium: Browser, master: Cluster) -> None:
    """A dead letter shows its attempt, cause, arguments and traceback; retry moves it, and is asked first."""
    worker = master.tasks()
    dead = submit(master, DIVIDE, 12345, 0, retries=0)
    master.processes[0].logs("task_buried")
    with opened(chromium, master, "dead") as page:
        sign_in(page)
        page.get_by_role("link", name=dead).click()
        expect(page.locator("dl.facts")).to_contain_text("Attempt1 of 1")
        expect(page.locator("ol.timeline li.failed").first).to_contain_text("ZeroDivisionError")
        expect(page.locator("ol.timeline")).to_contain_text("Submitted.")
        expect(page.get_by_role("region", name="Arguments")).to_contain_text("divide(12345, 0)")
        expect(page.get_by_role("region", name="Error and traceback")).to_contain_text("Traceback")
        page.get_by_role("button", name="Retry").click()
        page.keyboard.press("Escape")  # declines
        page.get_by_role("button", name="Retry").click()
        confirm(page, f"Retry task {dead}?")
        expect(page.locator(".notice")).to_have_text("Done: 1.")
    worker.logs("task_failed", times=2)
    (action,) = master.processes[0].logs("http_action_taken")
    assert (action["action"], dead in action["asked"], TOKEN in master.processes[0].text) == ("dead_retry", True, False)


def test_dead_letters_are_retried_in_bulk_by_keyboard(chromium: Browser, master: Cluster) -> None:
    """The question says how many they are; the keyboard alone is enough."""
    worker = master.tasks()
    for number in range(3):
        submit(master, DIVIDE, number, 0)
    master.processes[0].logs("task_buried", times=3)
    with opened(chromium, master, "dead") as page:
        sign_in(page)
        retry = page.get_by_role("button", name="Retry all that match")
        retry.focus()
        page.keyboard.press("Enter")
        expect(page.get_by_role("dialog")).to_contain_text("Retry 3 dead letters?")
        page.keyboard.press("Tab")
        page.keyboard.press("Enter")
        expect(page.locator(".notice")).to_have_text("Done: 3.")
        expect(page.locator("main")).to_be_focused()  # the button is drawn anew
    worker.logs("task_failed", times=6)


def test_a_session_works_behind_a_proxy_with_tls_and_a_prefix(
    chromium: Browser, master: Cluster, authority: Authority
) -> None:
    """The cookie is for TLS only, and for the paths of the page below the prefix."""
    submit(master, "f", queue="mail")
    with proxy(master.http_port, authority.server()) as url, opened(chromium, master, url=url, **ANY_CA) as page:
        sign_in(page)
        expect(page.get_by_role("button", name="Sign out")).to_be_visible()
        (cookie,) = page.context.cookies()
        assert (cookie["path"], cookie["secure"], cookie["sameSite"]) == (f"{PREFIX}/page", True, "Strict")
        page.reload()
        row = page.get_by_role("row", name="mail")
        row.get_by_role("button", name="Pause").click()
        confirm(page, "Pause the queue mail?")
        expect(row).to_contain_text("paused")
        page.get_by_role("button", name="Sign out").click()
        expect(page.get_by_role("button", name="Sign in")).to_be_visible()
        assert page.context.cookies() == []


def test_a_proxy_signs_people_in_by_a_header(chromium: Browser, master: Cluster, authority: Authority) -> None:
    """The people need no token; the log names the person that the proxy has named."""
    submit(master, "f", queue="mail")
    headers = {"Authorization": f"Bearer {TOKEN}", "X-Forwarded-User": "ann"}
    with (
        proxy(master.http_port, authority.server(), headers) as url,
        opened(chromium, master, url=url, **ANY_CA) as page,
    ):
        row = page.get_by_role("row", name="mail")
        row.get_by_role("button", name="Pause").click()
        confirm(page, "Pause the queue mail?")
        expect(row).to_contain_text("paused")
    (action,) = master.processes[0].logs("http_action_taken")
    assert (action["action"], action["user"], action["key"]) == ("pause", "ann", "http-token")


@contextmanager
def served(app: ASGIApp) -> Iterator[str]:
    """Serve an application in a thread, and yield its URL."""
    ready: Future[tuple[str, asyncio.AbstractEventLoop, asyncio.Event]] = Future()

    async def serve() -> None:
        server, over = HttpServer(app), asyncio.Event()
        address = await server.start(Address("127.0.0.1", 0))
        ready.set_result((f"http://{address}/", asyncio.get_running_loop(), over))
        await over.wait()
        await server.stop()

    serving = threading.Thread(target=lambda: asyncio.run(serve()))
    serving.start()
    url, loop, over = ready.result(SOON_S)
    try:
        yield url
    finally:
        loop.call_soon_threadsafe(over.set)
        serving.join()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_of_a_standby_is_accessible_and_leads_to_the_leader(chromium: Browser, scheme: Any) -> None:
    """Axe finds nothing, on a phone it fits, and the link has the leader's host and the port of HTTP."""
    with served(create_standby_app(FakeStandby("127.0.0.7:9000"))) as url:
        page = chromium.new_page(color_scheme=scheme, viewport={"width": 390, "height": 800})
        page.goto(url)
        expect(page.get_by_role("heading", name="This master stands by")).to_be_visible()
        link = url.replace("127.0.0.1", "127.0.0.7")
        expect(page.get_by_role("link", name=link)).to_have_attribute("href", link)
        found = Axe().run(page)
        assert found.violations_count == 0, found.generate_report()
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        page.close()


def test_dependencies_are_drawn_in_both_directions_with_links(chromium: Browser, master: Cluster) -> None:
    """A stage in the middle of a chain shows the stages before and after it, with links."""
    with master.client() as client, opened(chromium, master) as page:
        last = client.chain(call(square, 3), call(square), call(square))
        tasks = master.json_of("list", "--json")["tasks"]
        first, middle, final = (one["id"] for one in tasks)
        show(page, f"task/{middle}")
        expect(page.get_by_role("heading", name="Dependencies")).to_be_visible()
        expect(page.locator(".related .here")).to_contain_text(f"{middle} {SQUARE} (this task)")
        above = page.get_by_role("list", name="This task depends on")
        below = page.get_by_role("list", name="These tasks depend on this task")
        expect(above.get_by_role("listitem")).to_have_text(f"{first} {SQUARE} ready")
        expect(below.get_by_role("listitem")).to_have_text(f"{final} {SQUARE} held")
        below.get_by_role("link", name=final).click()
        expect(page.get_by_role("heading", name=f"Task {final}")).to_be_visible()
        expect(page.get_by_role("list", name="These tasks depend on this task")).to_have_count(0)
        above.get_by_role("link", name=middle).click()
        expect(page.get_by_role("heading", name=f"Task {middle}")).to_be_visible()
        master.tasks()
        assert last.result() == 6561
        expect(page.locator("ol.timeline")).to_contain_text("Ended: succeeded.")
        expect(page.locator(".related .here")).to_be_visible()


def test_a_search_that_finds_little_goes_on_by_itself(chromium: Browser, grid: Cluster) -> None:
    """Each request examines a bounded part of all tasks; the page asks for the next part, and shows how far it is."""
    grid.master(DISTQ_HTTP_ADDRESS=f"127.0.0.1:{grid.http_port}").logs("http_listened")
    facts = {"queue": "q", "name": "rare", "state": "ready", "attempt": 1, "submitted_at": 0.0, "since": 0.0}
    asked: list[str] = []

    def part(route: Route) -> None:
        """Answer as a master with three parts of tasks does."""
        asked.append(route.request.url)
        number = len(asked)
        following = f"1-{number}" if number < 3 else None
        body = {
            "tasks": [{"id": "1-3", **facts}] if number == 3 else [],
            "next": following,
            "examined": 100_000,
            "task_count": 300_000,
        }
        route.fulfill(json=body)

    with opened(chromium, grid) as page:
        page.route("**/page/read/list*", part)
        show(page, "tasks?name=rare")
        expect(page.locator(".notice")).to_have_text("1 task, the oldest first.")
        expect(page.get_by_role("link", name="1-3")).to_be_visible()
        assert [url.partition("after=")[2].partition("&")[0] for url in asked] == ["", "1-1", "1-2"]


def test_a_queue_is_paused_and_resumed(chromium: Browser, master: Cluster) -> None:
    """The list shows it with the next event."""
    submit(master, "f", queue="mail")
    with opened(chromium, master) as page:
        sign_in(page)
        row = page.get_by_role("row", name="mail")
        row.get_by_role("button", name="Pause").click()
        confirm(page, "Pause the queue mail?")
        expect(row).to_contain_text("paused")
        expect(page.locator("main")).to_be_focused()
        row.get_by_role("button", name="Resume").click()
        confirm(page, "Resume the queue mail?")
        expect(row.get_by_role("button", name="Pause")).to_be_visible()
        row.get_by_role("button", name="Purge").click()
        confirm(page, "Cancel the 1 waiting tasks")
        expect(row.get_by_role("cell").nth(1)).to_have_text("0")
        page.get_by_role("button", name="Sign out").click()
        expect(page.get_by_role("button", name="Pause")).to_have_count(0)
