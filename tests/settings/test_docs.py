"""The generated files in the repository are those that the present table would generate."""

import ast
import re

from tests.tidy.tree import ROOT, files, python_files, text

from distq.settings import ROWS, Role, load
from distq.settings.docs import chart_names, env_example, reference


def test_generated_files_are_up_to_date() -> None:
    """`python -m distq.settings` would change nothing."""
    assert (ROOT / ".env.example").read_text() == env_example()
    assert (ROOT / "docs/reference/settings.md").read_text() == reference()
    assert (ROOT / "helm/files/settings.txt").read_text() == chart_names()


def test_every_row_is_a_sentence_and_its_default_can_be_read() -> None:
    """The example file, uncommented, is the defaults."""
    assert all(row.sentence[0].isupper() and row.sentence.endswith(".") for row in ROWS)
    assert all(row.used_by for row in ROWS)
    lines = [line[1:].split("=", 1) for line in env_example().splitlines() if line.startswith("#DISTQ_")]
    environ = dict(line for line in lines if len(line) == 2)
    assert list(environ) == [row.name for row in ROWS]
    defaults = load({}, Role.CLIENT, needs_authkey=False).settings
    assert load(environ, Role.CLIENT, needs_authkey=False).settings == defaults


def test_groups_are_written_once() -> None:
    """All rows of a group are next to each other."""
    groups = [line for line in reference().splitlines() if line.startswith("## ")]
    assert len(groups) == len(set(groups))


def test_every_setting_that_the_documentation_names_is_there() -> None:
    """A page, a chart or a Compose file names no setting that does not exist."""
    names = {row.name for row in ROWS} | {f"{row.name}_FILE" for row in ROWS if row.is_secret} | {"DISTQ_CI"}
    unknown = {
        f"{path}: {name}"
        for path in files()
        if path.parts[0] in ("README.md", "docs", "helm", "deploy", "examples", "images", "compose.yaml")
        for name in re.findall(r"\bDISTQ_[A-Z_]*[A-Z]\b", text(path))
        if name not in names
    }
    assert unknown == set()


def test_every_setting_that_the_code_names_is_there() -> None:
    """Errors and hints name each setting by its exact name."""
    names = {row.name for row in ROWS} | {f"{row.name}_FILE" for row in ROWS if row.is_secret} | {"DISTQ_CI"}
    unknown = {
        f"{path}: {name}"
        for path in python_files("src")
        for node in ast.walk(ast.parse(text(path)))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
        for name in re.findall(r"\bDISTQ_[A-Z_]*[A-Z]\b", node.value)
        if name not in names
    }
    assert unknown == set()
