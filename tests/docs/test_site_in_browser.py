"""The site in a real browser, opened from a disk: the search and the switch of versions need no server."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright
from tests.docs.conftest import OLDER
from tests.waiting import SOON_S

from distq import __version__

pytestmark = [pytest.mark.chromium, pytest.mark.xdist_group("site"), pytest.mark.timeout(300)]
expect.set_options(timeout=SOON_S * 1000)


@pytest.fixture(name="chromium", scope="module")
def running_chromium() -> Iterator[Browser]:
    """The browser of Debian."""
    with sync_playwright() as playwright:
        path = shutil.which("chromium")
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-dev-shm-usage"])
        yield browser
        browser.close()


@contextmanager
def opened(chromium: Browser, file: Path) -> Iterator[Page]:
    """Open a file without a network; the test fails if a script fails or asks for something of another host."""
    context = chromium.new_context(offline=True)
    page = context.new_page()
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(error.message))
    page.on("request", lambda request: problems.append(request.url))
    page.goto(file.as_uri())
    yield page
    context.close()
    assert [what for what in problems if not what.startswith(("file:", "data:"))] == []


@pytest.mark.parametrize(("page", "shown"), [("how-to/tls", "how-to/tls"), ("how-to/keys", "README")])
def test_the_switch_shows_the_page_of_another_version(chromium: Browser, site: Path, page: str, shown: str) -> None:
    """The same page, or the front page of a version without it."""
    with opened(chromium, site / __version__ / "docs" / f"{page}.html") as browser:
        switch = browser.locator("#version")
        expect(switch).to_be_visible()
        expect(switch).to_have_value(__version__)
        assert switch.locator("option").all_text_contents() == [__version__, OLDER]
        switch.select_option(OLDER)
        expect(browser).to_have_title(f"docs/{shown}.html of {OLDER}")
        assert browser.url == (site / OLDER / "docs" / f"{shown}.html").as_uri()


def test_the_search_finds_a_page_from_a_disk(chromium: Browser, site: Path) -> None:
    """A word typed into the field of a page; the first result leads to the page about it."""
    with opened(chromium, site / __version__ / "docs" / "how-to" / "tls.html") as browser:
        field = browser.get_by_placeholder("Search")
        field.fill("joblib")
        field.press("Enter")
        results = browser.locator("#search-results li a")
        expect(results.first).to_be_visible()
        excerpts = browser.locator("#search-results li p.context")
        expect(excerpts.filter(has_text="joblib").first).to_be_visible()
        expect(browser.locator("#search-results li:not(:has(p.context)):not(:has(span))")).to_have_count(0)
        results.filter(has_text="joblib").first.click()
        expect(browser.locator("h1")).to_contain_text("joblib")
        assert browser.url.startswith((site / __version__ / "docs").as_uri())
