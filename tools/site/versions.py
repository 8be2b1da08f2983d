"""The list of versions of a site, for the switch on each page.

A folder of the site holds a version. The list is a script, which a page can load from a server and from a disk.
"""

import json
import re
from pathlib import Path
from typing import Final

FRONT: Final = "docs/README.html"
VERSION: Final = re.compile(r"\d+(\.\d+)+\w*")
REDIRECT: Final = """\
<!doctype html>
<meta charset="utf-8">
<title>distq</title>
<meta http-equiv="refresh" content="0; url={front}">
<p><a href="{front}">The documentation of distq {newest}</a></p>
"""


def write_versions(site: Path) -> None:
    """Write the list of versions with their pages, the newest first, and a front page that leads to the newest."""
    folders = [path for path in site.iterdir() if VERSION.fullmatch(path.name) and (path / FRONT).is_file()]
    folders.sort(key=lambda path: _ordered(path.name), reverse=True)
    listed = [{"version": folder.name, "pages": _pages(folder)} for folder in folders]
    (site / "versions.js").write_text(f"const VERSIONS = {json.dumps(listed)};\n", encoding="utf-8")
    newest = folders[0].name
    redirect = REDIRECT.format(front=f"{newest}/{FRONT}", newest=newest)
    (site / "index.html").write_text(redirect, encoding="utf-8")


def _ordered(version: str) -> tuple[list[int], bool, str]:
    """Return what a version is sorted by: its numbers; a release is newer than its candidates, such as 1.0.0rc1."""
    release, last = re.match(r"([\d.]*\d)(\D*.*)", version).groups()  # type: ignore[union-attr]
    return [int(number) for number in release.split(".")], not last, last


def _pages(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.html"))
