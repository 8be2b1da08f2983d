"""The figures and limits of the pages of explanation are those of the code."""

import re

from tests.tidy.tree import ROOT, files, text

from distq.core.constraints import KEY_BYTES_MAX
from distq.core.head import NAME_BYTES_MAX
from distq.tasks.options import CHECKS


def test_the_page_of_limits_has_the_defaults_of_the_settings() -> None:
    """Each row names a setting with its default, as docs/reference/settings.md has it."""
    page = (ROOT / "docs/explanation/limits.md").read_text(encoding="utf-8")
    rows = {found[1]: found[0] for found in re.findall(r"^\| .+? \| (\S+) \| `(DISTQ_\w+)` \|", page, re.MULTILINE)}
    reference = (ROOT / "docs/reference/settings.md").read_text(encoding="utf-8")
    defaults = dict(re.findall(r"^\| `(DISTQ_\w+)` \| [^|]+ \| `(\S+)` \|", reference, re.MULTILINE))
    assert len(rows) > 10
    assert rows == {name: defaults[name] for name in rows}


def test_the_page_of_limits_has_the_limits_of_names_and_options() -> None:
    """The ranges of options are those of docs/reference/api.md."""
    page = (ROOT / "docs/explanation/limits.md").read_text(encoding="utf-8")
    assert f"a concurrency key | {NAME_BYTES_MAX} bytes |" in page
    assert KEY_BYTES_MAX == NAME_BYTES_MAX
    options = (ROOT / "docs/reference/api.md").read_text(encoding="utf-8")
    for name, written, shown in (
        ("priority", "0 to 9", "from 0 to 9"),
        ("retries", "0 to 10,000", "10,000 each"),
        ("max_deliveries", "1 to 10,000", "10,000 each"),
        ("delay", "duration, 0 s to 366 days", "366 days"),
        ("every", "duration, 0.1 s to 366 days", "0.1 s"),
        ("concurrency", "1 to 1,000,000", "1,000,000"),
    ):
        assert name in CHECKS
        assert f"| `{name}` | {written} |" in options
        assert f"| {shown} |" in page or f", {shown} |" in page


def test_every_benchmark_that_a_page_names_exists() -> None:
    """`benchmarks.name` in code is a module."""
    named = {
        name
        for path in files()
        if path.suffix == ".md" and path.parts[0] in ("docs", "README.md")
        for name in re.findall(r"benchmarks\.(\w+)", text(path))
    }
    assert len(named) > 5
    assert {name for name in named if not (ROOT / "benchmarks" / f"{name}.py").is_file()} == set()
