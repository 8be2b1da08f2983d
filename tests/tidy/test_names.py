"""Tests that the names which prose mentions are names of the code."""

import re
from pathlib import Path

import pytest
from tests.tidy.tree import files, python_files, text

OTHERS = {
    "Decimal",
    "IntEnum",
    "MASTER_STORE",
    "RemoteError",
    "as_completed",
    "dstq",
    "histogram_quantile",
    "tzdata",
    "wrap_future",
}
"""Names of the standard library, Prometheus and compose.yaml, and a typing error that a message shows."""


def test_a_name_in_backticks_exists() -> None:
    """The last part of a name that a docstring or comment of src sets in backticks stands somewhere in src's code."""
    sources = {path: text(path) for path in python_files("src")}
    words = set(re.findall(r"\w+", re.sub(r"`[^`\n]+`", "", "\n".join(sources.values())))) | OTHERS
    found = [
        f"{path}: {name[0]}"
        for path, source in sources.items()
        for name in re.finditer(r"`(?:\w+\.)*([A-Za-z_]\w{2,})(?:\(\))?`", source)
        if name[1] not in words
    ]
    assert found == []


IN_FILE = re.compile(r"`(?:\w+\.)*(\w+)` in `((?:\w+/)+\w+\.py)`(?: and in `((?:\w+/)+\w+\.py)`)?")
"""A name and the files of src/distq in which it stands, as a page writes it: `lose` in `core/ledger.py`."""


@pytest.mark.parametrize("page", [path for path in files() if path.suffix == ".md"], ids=str)
def test_a_name_that_a_page_finds_in_a_file_is_defined_there(page: Path) -> None:
    """A function, class or attribute is still where the documentation sends a reader."""
    found = [
        f"{name} in {path}"
        for name, *paths in IN_FILE.findall(text(page))
        for path in filter(None, paths)
        if not re.search(rf"(?:def|class) {name}\b|\b{name}(?:: [^\n]+)? =", text(Path("src/distq", path)))
    ]
    assert found == []


def test_the_architecture_names_a_function_at_each_step_of_a_workers_death() -> None:
    """The test above sees these names: the page writes them in the form that it knows."""
    page = text(Path("docs/explanation/architecture.md"))
    steps = page.partition("## The death of a worker")[2].partition("## Frequent questions")[0]
    rows = [line for line in steps.splitlines() if line.startswith("| ") and "what happens" not in line]
    assert len(rows) >= 10
    assert [row for row in rows if not IN_FILE.search(row)] == []
