"""The configuration of Sphinx: the Markdown pages of the repository, where they are, become the site."""

from pathlib import Path

from pygments.lexers.special import TextLexer
from tools.site.excerpts import write_pages
from tools.site.pages import INCLUDED, links_in_site, navigation

from distq import __version__

project = "distq"
author = "The distq authors"
copyright = "The distq authors"  # noqa: A001, Sphinx decides this name
version = release = __version__
language = "en"

extensions = ["myst_parser"]
root_doc = "docs/README"
include_patterns = [*INCLUDED]
exclude_patterns = [".*", "build", "dist", "src", "tests", "benchmarks"]  # Sphinx does not even list these folders
nitpicky = True
suppress_warnings = ["epub.unknown_project_files"]
myst_heading_anchors = 6  # the anchors that a code host makes
highlight_language = "text"

html_theme = "furo"
html_title = f"distq {version}"
html_static_path = ["static"]
html_js_files = [("switch.js", {"defer": "defer"}), ("excerpts.js", {"defer": "defer"})]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sourcelink = False
html_theme_options: dict[str, object] = {"top_of_page_buttons": []}
templates_path = ["templates"]
html_sidebars = {
    "**": [
        "sidebar/brand.html",
        "versions.html",
        "sidebar/search.html",
        "sidebar/scroll-start.html",
        "sidebar/navigation.html",
        "sidebar/scroll-end.html",
    ]
}


def setup(app):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN201, Sphinx calls it
    """Change the text of a page as it is read: a code host needs no navigation, and shows folders."""

    def change(_app: object, name: str, source: list[str]) -> None:
        source[0] = links_in_site(name, source[0])
        if name == root_doc:
            source[0] += navigation(source[0])

    def finish(app, problem: Exception | None) -> None:  # type: ignore[no-untyped-def] # noqa: ANN001, as above
        if problem is None:
            write_pages(Path(app.outdir))

    app.connect("source-read", change)
    app.connect("build-finished", finish)
    for name in ("logql", "mermaid"):  # languages that Pygments does not know
        app.add_lexer(name, TextLexer)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
