"""Tests that messages do not say "1 tasks": a count that may be 1 is written by `counted`."""

import ast
import re
from collections.abc import Iterator

from tests.tidy.tree import python_files, text

NOUNS = (
    "attempt|batch|call|change|client|commit|connection|death|delivery|event|executor|failure|file|future|item|key|"
    "letter|line|master|message|module|name|part|payload|peer|process|queue|request|result|retry|row|run|schedule|slot|"
    "task|thread|try|worker"
)
PLURALS = rf"(?:(?:dead|more|open|ready|running|waiting) )?(?:{NOUNS.replace('y|', 'ie|')})e?s\b(?!/)"
"""A plural, with an adjective before it or without; "tasks/s" is no count of tasks."""
SIZES = re.compile(r"bytes|limit", re.IGNORECASE)
"""What the names of sizes and limits contain; they are never one where a message mentions them."""
NUMBERED = re.compile(rf"(?:%d|\{{\w*:,?d?\}}) {PLURALS}")
"""A number in the text of a log message or of a format, and the plural behind it."""


def plurals(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Yield the line and the text of each value in an f-string that a plural follows, if the value is no constant."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and (match := NUMBERED.search(node.value)):
            yield node.lineno, match[0]
        if not isinstance(node, ast.JoinedStr):
            continue
        for value, behind in zip(node.values, node.values[1:], strict=False):
            if not isinstance(value, ast.FormattedValue) or not isinstance(behind, ast.Constant):
                continue
            match = re.match(f" {PLURALS}", str(behind.value))
            shown = ast.unparse(value.value)
            if match and not shown.isupper() and not SIZES.search(shown):
                yield node.lineno, f"{{{shown}}}{match[0]}"


def test_a_count_in_a_message_goes_through_the_function_for_plurals() -> None:
    """No message of src has a plural behind a number that may be 1."""
    found = [
        f"{path}:{line}: {shown}: write counted(count, noun)"
        for path in python_files("src")
        for line, shown in plurals(ast.parse(text(path)))
    ]
    assert found == []
