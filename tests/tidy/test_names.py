"""Tests that the names which prose mentions are names of the code."""

import re

from tests.tidy.tree import python_files, text

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
