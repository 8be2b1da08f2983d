"""What the site adds to the Markdown pages, which are written for a code host: targets of links, and the navigation."""

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from tools.llms import LINK, ROW

ROOT: Final = Path(__file__).resolve().parents[2]
INCLUDED: Final = (
    "*.md",
    "helm/README.md",
    "examples/*/README.md",
    "findings/README.md",
    "docs/**.md",
)
"""The pages of the site, as patterns of Sphinx from the root of the repository."""
DECISIONS: Final = "docs/decisions/README"
TARGET: Final = re.compile(r"(?<=\]\()(?![a-z]+:)([^)#\s]+)(?=\))")


def links_in_site(name: str, source: str) -> str:
    """Return the source of a page with links to folders as links to the README.md of each."""
    folder = ROOT / Path(name).parent

    def to_page(found: re.Match[str]) -> str:
        return f"{found[0]}/README.md" if (folder / found[0]).is_dir() else found[0]

    listed = TARGET.sub(to_page, source)
    return f"{listed}\n```{{toctree}}\n:glob:\n:maxdepth: 1\n\n0*\n```\n" if name == DECISIONS else listed


def navigation(contents: str) -> str:
    """Return the hidden trees of pages for the sidebar, which has a group for each section of docs/README.md."""
    return "".join(_groups(contents))


def _groups(contents: str) -> Iterator[str]:
    yield _group("Start", [("What distq is", "/README.md"), ("A task's whole life", "/examples/life/README.md")])
    listed = {"/README.md"}
    for section in contents.split("\n## ")[1:]:
        caption, _, text = section.partition("\n")
        found = [LINK.finditer(row["links"]) for line in text.splitlines() if (row := ROW.match(line))]
        pages = [(link["title"], _from_root(link["link"])) for links in found for link in links]
        listed |= {page for _, page in pages}
        yield _group(caption, [(title, page) for title, page in pages if page.endswith(".md")])
    others = sorted(path for path in ROOT.glob("*.md") if f"/{path.name}" not in listed)
    at_root = [(path.stem.capitalize(), f"/{path.name}") for path in others]
    yield _group("Development", [*at_root, ("Findings", "/findings/README.md")])


def _from_root(link: str) -> str:
    """Return the path of a page that docs/README.md links."""
    path = os.path.normpath(Path("docs") / link)
    return f"/{path}/README.md" if (ROOT / path).is_dir() else f"/{path}"


def _group(caption: str, pages: list[tuple[str, str]]) -> str:
    lines = (f"{title} <{page.removesuffix('.md')}>" for title, page in pages)
    return "\n".join(("", "```{toctree}", ":hidden:", f":caption: {caption}", "", *lines, "```", ""))
