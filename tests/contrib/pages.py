"""The programs in the documentation's pages, as files that a test runs."""

import re
from pathlib import Path

from tests.tidy.tree import ROOT


def write_programs(page: str, folder: Path) -> list[str]:
    """Write each Python block of a page to the file that its first line names; returns the names of the files."""
    names = []
    for source in re.findall(r"^```python\n(.*?)^```$", (ROOT / page).read_text(), re.DOTALL | re.MULTILINE):
        (name,) = re.findall(r"\A# (\w+\.py)", source)
        (folder / name).write_text(source)
        names.append(name)
    return names
