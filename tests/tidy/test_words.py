"""Tests of the project's vocabulary: phrases that hide the actor or the limit, and private names, do not occur."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
from tests.tidy.tree import files, python_files, text

ROOTS: Final = (
    "src",
    "README.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "Makefile",
    "compose.yaml",
    "docker-bake.hcl",
    "docs",
    "helm",
    "deploy",
    "images",
    "examples",
    "tools",
    "benchmarks",
    ".ci",
    ".github",
)
"""Files and folders of the project's root whose whole text is checked."""

INSTEAD: Final = {
    "whoever|nobody|somebody|everybody|anybody": "name the actor: the client, the executor, the operator",
    "so many|so long|so often|so much": "write 'at most N', 'up to N', 'for N seconds', or the quantity itself",
    "(is|are|was|were) told": "name who sends what: 'the client receives ...', 'the log says ...'",
    "the law": "the table of state transitions, the rule",
    "moments?": "write the time, the instant, or for a schedule the scheduled run",
    "could not be had|by whom": "the product says nothing of how or where it was made",
    "desks?|lanes?|seats?|crews?|vigils?|twins?|lend(s|er|ers|ing)?|bonds": "use a word of docs/reference/glossary.md",
    "house|houses|floors|at night": "a metaphor: say what is meant",
}
"""The replacement for each phrase; words are separated by any white space, case does not matter."""

ALLOWED: Final = {
    ("CONTRIBUTING.md", "so many"): "the rule itself",
    ("src/distq/protocol/hello.py", "seats"): "a field of `hello` on the wire, which older peers send and read",
}
"""Phrases that stay in one file, and the reason for each."""


def matches(path: Path) -> Iterator[tuple[str, str]]:
    """Yield the phrases to avoid that a file contains, in lower case, each with its replacement."""
    for pattern, instead in INSTEAD.items():
        spaced = pattern.replace(" ", r"[\s#/*]+")  # a comment's next line begins with its mark
        for match in re.finditer(rf"\b(?:{spaced})\b", text(path), re.IGNORECASE):
            yield " ".join(re.split(r"[\s#/*]+", match[0].lower())), instead


def checked() -> list[Path]:
    """Return the text files below the roots."""
    binary = {".png", ".svg", ".lock"}
    return [path for path in files() if (path.parts[0] in ROOTS) and path.suffix not in binary]


def test_prose_names_the_actor_and_the_limit() -> None:
    """No file below the roots contains a phrase to avoid, except for those in ALLOWED."""
    found = [
        f"{path}: '{phrase}': {instead}"
        for path in checked()
        for phrase, instead in dict(matches(path)).items()
        if (str(path), phrase) not in ALLOWED
    ]
    assert found == []


@pytest.mark.parametrize(("path", "phrase"), ALLOWED)
def test_an_exception_is_needed(path: str, phrase: str) -> None:
    """An exception goes when the file no longer contains the phrase."""
    assert phrase in dict(matches(Path(path)))


def test_no_docstring_is_a_placeholder() -> None:
    """A docstring, of an attribute too, is a complete sentence."""
    placeholder = re.compile(r'"""(?:TB[AD]|placeholder)\b', re.IGNORECASE)
    assert [str(path) for path in python_files() if placeholder.search(text(path))] == []
