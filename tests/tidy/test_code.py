"""Tests of the rules for the code that no linter checks."""

import ast
import re
from pathlib import Path

from tests.tidy.tree import ROOT, files, functions, python_files, text

FILE_LINES_MAX = 400
FUNCTION_LINES_MAX = 60
# Paths that name the machine on which a line was written
MACHINE_PATHS = re.compile(r"(?:^|[^\w.])/(?:work|farm|root/\.pyenv)/", re.MULTILINE)


def test_no_file_of_src_is_longer_than_its_limit() -> None:
    """A longer file contains two nouns, and is split."""
    lengths = {path: text(path).count("\n") for path in python_files("src")}
    assert {str(path): length for path, length in lengths.items() if length > FILE_LINES_MAX} == {}


def test_no_function_is_longer_than_its_limit() -> None:
    """A reader sees a whole function without scrolling, in the tests too."""
    too_long = [
        f"{path}:{function.lineno} {function.name}"
        for path in python_files()
        for function in functions(path)
        if (function.end_lineno or 0) - function.lineno >= FUNCTION_LINES_MAX
    ]
    assert too_long == []


def test_every_folder_of_src_is_a_package_with_a_docstring() -> None:
    """The docstrings of the packages form the table of contents."""
    folders = {path.parent for path in python_files("src")}
    inits = {folder: ROOT / folder / "__init__.py" for folder in folders}
    undocumented = [
        str(folder)
        for folder, init in inits.items()
        if not init.is_file() or not ast.get_docstring(ast.parse(init.read_text(encoding="utf-8")))
    ]
    assert undocumented == []


def test_no_two_classes_of_src_share_a_name() -> None:
    """The name of a class says in every file which class is meant."""
    positions: dict[str, list[str]] = {}
    for path in python_files("src"):
        for node in ast.walk(ast.parse(text(path))):
            if isinstance(node, ast.ClassDef):
                positions.setdefault(node.name, []).append(f"{path}:{node.lineno}")
    assert {name: found for name, found in positions.items() if len(found) > 1} == {}


def test_every_test_has_a_docstring() -> None:
    """The suite can be read as a specification."""
    undocumented = [
        f"{path}:{function.lineno} {function.name}"
        for path in python_files("tests")
        for function in functions(path)
        if function.name.startswith("test_") and not ast.get_docstring(function)
    ]
    assert undocumented == []


def uncommented_sleeps(path: Path) -> list[str]:
    """Return the calls of a sleep without a comment on their line or the line above; `sleep(0)` needs none."""
    lines = ["", *text(path).splitlines()]
    return [
        f"{path}:{node.lineno}"
        for node in ast.walk(ast.parse(text(path)))
        if isinstance(node, ast.Call)
        and ast.unparse(node.func).rpartition(".")[2] == "sleep"
        and ast.unparse(node) not in {"asyncio.sleep(0)", "time.sleep(0)"}
        and "#" not in lines[node.lineno] + lines[node.lineno - 1]
    ]


def test_a_sleep_in_a_test_has_a_comment_with_its_reason() -> None:
    """Tests wait for facts; where a test needs time to pass, a comment gives the reason."""
    assert [line for path in python_files("tests") for line in uncommented_sleeps(path)] == []


def test_no_file_contains_a_path_of_one_machine() -> None:
    """A clone works in any folder and on any machine."""
    named = {str(path): MACHINE_PATHS.findall(text(path)) for path in files() if path.suffix != ".lock"}
    assert {path: found for path, found in named.items() if found} == {}


def test_no_file_has_a_mark_of_unfinished_work() -> None:
    """Open work belongs in an issue, where other people see it."""
    marks = re.compile(r"\b(" + "|".join(["TO" + "DO", "FIX" + "ME", "X" + "XX", "HA" + "CK"]) + r")\b")
    unfinished = [str(path) for path in files() if path.suffix not in {".lock", ".png"} and marks.search(text(path))]
    assert unfinished == []
