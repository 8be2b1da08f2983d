"""The site of the documentation, built once for all tests that read it."""

from pathlib import Path

import pytest
from tools.site.__main__ import build
from tools.site.versions import write_versions

OLDER = "0.0.1"
"""A version of the site that has only two pages."""


@pytest.fixture(name="site", scope="session")
def built_site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """This version, built, and an older one beside it; tests do not change them."""
    folder = tmp_path_factory.mktemp("site")
    assert build(folder) == 0, "Sphinx printed its warnings"
    for name in ("docs/README.html", "docs/how-to/tls.html"):
        page = folder / OLDER / name
        page.parent.mkdir(parents=True, exist_ok=True)
        page.write_text(f"<!doctype html><title>{name} of {OLDER}</title>")
    write_versions(folder)
    return folder
