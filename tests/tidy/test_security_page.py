"""Each claim of docs/explanation/security.md names tests, and these tests exist."""

import re
from pathlib import Path

from tests.tidy.tree import ROOT, functions

from distq.settings.table import ROWS

PAGE = ROOT / "docs" / "explanation" / "security.md"
TEST = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")


def test_each_test_that_the_page_names_exists() -> None:
    """A claim whose test was renamed or removed is no claim any more."""
    named = TEST.findall(PAGE.read_text())
    assert len(named) > 20
    missing = [
        f"{path}::{name}"
        for path, name in named
        if not (ROOT / path).is_file() or name not in {function.name for function in functions(Path(path))}
    ]
    assert missing == []


def test_each_claim_names_a_test() -> None:
    """The rows of the tables of claims have a test in their last column."""
    text = PAGE.read_text()
    tables = text[text.index("## Attacker by attacker") : text.index("## Limits")]
    rows = [line for line in tables.splitlines() if line.startswith("| ") and not line.startswith("| claim ")]
    assert len(rows) > 15
    assert [row for row in rows if not TEST.search(row)] == []


def test_each_limit_of_the_page_is_a_setting() -> None:
    """The table of limits names settings as they are, and has all of their group."""
    limits = PAGE.read_text().split("## Limits")[1].split("## Floods")[0]
    named = set(re.findall(r"`(DISTQ_\w+)`", limits))
    group = {row.name for row in ROWS if row.group == "Limits"} - {"DISTQ_QUEUE_LIMITS"}
    assert named == group
