"""The script with the content of all pages, from which the search of a site on a disk shows excerpts."""

import json
import re
from pathlib import Path

_CONTENT = re.compile(r'<article role="main".*?</article>', re.DOTALL)


def write_pages(folder: Path) -> None:
    """Write `_static/pages.js` for the pages in the folder; a page without content is no result of a search."""
    found = {
        str(page.relative_to(folder)): _CONTENT.search(page.read_text(encoding="utf-8"))
        for page in sorted(folder.rglob("*.html"))
    }
    pages = {name: content[0] for name, content in found.items() if content is not None}
    script = f"const PAGES = {json.dumps(pages, ensure_ascii=False)};\n"
    (folder / "_static" / "pages.js").write_text(script, encoding="utf-8")
