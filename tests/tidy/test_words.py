"""Tests of the project's vocabulary: phrases that hide the actor or the limit, and private names, do not occur."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
from tests.tidy.tree import files, functions, python_files, text

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
    "tests",
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
    **dict.fromkeys(
        (
            ("docs/reference/wire.md", "seats"),
            ("src/distq/protocol/hello.py", "seats"),
            ("tests/master/sessions/test_cost.py", "seats"),
            ("tests/master/sessions/test_workers.py", "seats"),
            ("tests/protocol/test_hello.py", "seats"),
            ("tests/sim/hostile.py", "seats"),
        ),
        "a field of `hello` on the wire, which older peers send and read",
    ),
    ("tests/storage/postgresql/server.py", "nobody"): "the system's user without rights, as which the server runs",
}
"""Phrases that stay in one file, and the reason for each."""

NO_SUBJECT: Final = re.compile(
    r"test_(?:p\d+_)*(?:what|who|which|it|its|they|this|that|these|those|there|when|if|"
    r"after|before|in|on|from|outside|with|without|is|was|does|has|can|returns|raises|fails|works)_"
)
"""The beginning of a test's name that does not say what the test is about."""


def matches(path: Path) -> Iterator[tuple[str, str]]:
    """Yield the phrases to avoid that a file contains, in lower case, each with its replacement."""
    for pattern, instead in INSTEAD.items():
        spaced = pattern.replace(" ", r"[\s#/*]+")  # a comment's next line begins with its mark
        for match in re.finditer(rf"\b(?:{spaced})\b", text(path), re.IGNORECASE):
            yield " ".join(re.split(r"[\s#/*]+", match[0].lower())), instead


def checked() -> list[Path]:
    """Return the text files below the roots."""
    binary = {".png", ".svg", ".lock"}
    others = {Path("tests/tidy/test_words.py"), Path("tests/kit/grafana/package-lock.json")}
    return [path for path in files() if path.parts[0] in ROOTS and path.suffix not in binary and path not in others]


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


def test_the_name_of_a_test_begins_with_its_subject() -> None:
    """The name reads as a sentence, and contains no phrase to avoid."""
    avoided = re.compile(rf"\b(?:{'|'.join(INSTEAD)}|told|tells?)\b")
    found = [
        f"{path}:{function.lineno} {function.name}"
        for path in python_files("tests")
        for function in functions(path)
        if NO_SUBJECT.match(function.name)
        or (function.name.startswith("test_") and avoided.search(function.name.replace("_", " ")))
    ]
    assert found == []


def test_no_docstring_is_a_placeholder() -> None:
    """A docstring, of an attribute too, is a complete sentence."""
    placeholder = re.compile(r'"""(?:TB[AD]|placeholder)\b', re.IGNORECASE)
    assert [str(path) for path in python_files() if placeholder.search(text(path))] == []
