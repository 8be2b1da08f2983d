"""Tests of the Markdown pages: their links, and the files, commands and metrics that they name, exist."""

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import click
import pytest
import yaml
from tests.tidy.tree import ROOT, files, python_files, text
from tools.llms import llms

from distq.cli.app import app
from distq.metrics.catalogue import BY_NAME

PAGES: Final = [path for path in files() if path.suffix == ".md"]
LINK: Final = re.compile(r"\]\(([^)\s]+)\)")
HEADING: Final = re.compile(r"^#+ (.+)$", re.MULTILINE)
CODE: Final = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)


def anchor(heading: str) -> str:
    """Return the anchor that GitHub makes of a heading."""
    shown = re.sub(r"\]\([^)]*\)|[`\[]", "", heading)
    return re.sub(r"[^\w\- ]", "", shown.lower()).replace(" ", "-")


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings."""
    return {anchor(heading) for heading in HEADING.findall(CODE.sub("", text(page)))}


def broken_links(page: Path) -> Iterator[str]:
    """Yield the relative links of a page whose target does not exist."""
    for link in LINK.findall(CODE.sub("", text(page))):
        if "://" in link or link.startswith("mailto:"):
            continue
        name, _, heading = link.partition("#")
        target = Path(os.path.normpath(page.parent / name)) if name else page
        if not (ROOT / target).exists() or (heading and heading not in anchors(target)):
            yield link


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_every_link_of_a_page_has_a_target(page: Path) -> None:
    """A change of a page's name or heading changes its links too."""
    assert list(broken_links(page)) == []


def test_every_page_of_the_docs_is_in_the_table_of_contents() -> None:
    """docs/README.md links every page, and the folder of the decisions."""
    linked = {os.path.normpath(Path("docs") / link) for link in LINK.findall(text(Path("docs/README.md")))}
    pages = {str(page) for page in PAGES if page.parts[0] == "docs" and page != Path("docs/README.md")}
    assert {page for page in pages if page not in linked and str(Path(page).parent) not in linked} == set()


def test_llms_txt_is_the_table_of_contents() -> None:
    """It lists every page of docs/README.md, and so of the docs: `python -m tools.llms` writes it."""
    assert text(Path("llms.txt")) == llms(text(Path("docs/README.md")))


def test_every_link_of_llms_txt_has_a_target() -> None:
    """Each section has links, and every one leads to a file or a folder of the repository."""
    listed = text(Path("llms.txt"))
    assert listed.startswith("# distq\n\n> ")
    assert list(broken_links(Path("llms.txt"))) == []
    assert all(LINK.search(section) for section in listed.split("\n## ")[1:])


def test_every_page_of_the_docs_is_in_llms_txt() -> None:
    """A decision is there by its folder."""
    linked = set(LINK.findall(text(Path("llms.txt"))))
    pages = {str(page) for page in PAGES if page.parts[0] == "docs" and page != Path("docs/README.md")}
    assert {page for page in pages if page not in linked and str(Path(page).parent) not in linked} == set()


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_every_source_file_that_a_page_names_exists(page: Path) -> None:
    """A path in backticks, such as `core/moves.py`, is relative to the root, src/distq, or the page's folder."""
    named = re.findall(r"`((?:[\w.-]+/)+[\w-]+\.(?:py|sh|yaml|json|hcl))`", text(page))
    places = (ROOT, ROOT / "src" / "distq", ROOT / page.parent)
    assert [name for name in named if not any((place / name).exists() for place in places)] == []


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_every_metric_that_a_page_names_exists(page: Path) -> None:
    """A name that begins with `distq_` is a metric, a name of the pytest plugin, a command, or a volume of Compose."""
    plugin = re.findall(r"\bdistq_[a-z_]+", text(Path("src/distq/pytest_plugin.py")))
    commands = [path.stem for path in python_files("src") if path.parent.name == "commands"]
    volumes = [f"distq_{name}" for name in yaml.safe_load(text(Path("compose.yaml")))["volumes"]]
    known = {*BY_NAME, *plugin, *commands, *volumes}
    assert {name for name in re.findall(r"\bdistq_[a-z_]+", text(page)) if name not in known} == set()


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_every_command_that_a_page_names_exists(page: Path) -> None:
    """The word after `distq`, in code, is a command, and the next one a command of its group."""
    context = click.Context(app, info_name="distq")
    unknown = []
    for first, second in re.findall(r"(?:`|\$ |^ {4}|&& |-- )distq ([a-z]+)(?: ([a-z]+))?", text(page), re.MULTILINE):
        command = app.get_command(context, first)
        below = click.Context(command, info_name=first, parent=context) if command is not None else context
        if command is None or (second and isinstance(command, click.Group) and not command.get_command(below, second)):
            unknown.append(f"distq {first} {second}".rstrip())
    assert unknown == []


def test_the_architecture_page_names_every_folder_of_src() -> None:
    """A reader of the source code finds each package in the table of folders, or below one that is there."""
    page = text(Path("docs/explanation/architecture.md"))
    paths = {path.parent.relative_to("src/distq") for path in python_files("src")} - {Path()}
    of_django = {"management", "migrations"}  # Django decides these folders of an app
    folders = {path.as_posix() for path in paths if not of_django & set(path.parts)}
    assert {folder for folder in folders if f"`{folder}/" not in page} == set()


def test_every_test_folder_is_in_the_table_for_contributors() -> None:
    """The table in CONTRIBUTING.md says of each folder of `tests/` what it tests, and names no other folder."""
    section = text(Path("CONTRIBUTING.md")).partition("| folder of `tests/` |")[2].partition("\n\n")[0]
    rows = [line.split("|")[1] for line in section.splitlines()[2:]]
    folders = {path.parts[1] for path in files() if path.parts[0] == "tests" and len(path.parts) > 2}
    assert {name for row in rows for name in re.findall(r"`(\w+)`", row)} == folders
