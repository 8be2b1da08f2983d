"""Every code block of a page can be read by the language that it names; other tests run programs and commands."""

import ast
import json
import re
import shlex
import subprocess
from pathlib import Path
from typing import Final, NamedTuple

import click
import pytest
import yaml
from tests.tidy.tree import files, text

from distq.cli.app import app
from distq.settings.table import ROWS

PAGES: Final = [path for path in files() if path.suffix == ".md"]
FENCE: Final = re.compile(r"^( *)```(\S*)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
PLAIN: Final = {"text", "mermaid", "logql", "dockerfile", "js", "bash", "nginx"}
"""Languages whose blocks are not parsed: outputs, diagrams, queries of Loki, and files for other programs."""
ABBREVIATED: Final = {"docs/how-to/backup-and-restore.md": "… stands for the commands of the section above it"}
"""Pages with a shell block that leaves out something, each with its reason."""


class Block(NamedTuple):
    """A code block of a page."""

    page: Path
    language: str
    code: str


BLOCKS: Final = [
    Block(page, found[2], re.sub(f"^{found[1]}", "", found[3], flags=re.MULTILINE))
    for page in PAGES
    for found in FENCE.finditer(text(page))
]


def blocks(*languages: str) -> list[object]:
    """Return the blocks of some languages as parameters of a test."""
    found = [block for block in BLOCKS if block.language in languages]
    return [pytest.param(block, id=f"{block.page}-{number}") for number, block in enumerate(found)]


def commands(block: Block) -> str:
    """Return what a reader types: in a console block, the lines after `$`."""
    if block.language == "sh":
        return block.code
    return "\n".join(re.findall(r"^\$ (.+(?:\\\n.+)*)$", block.code, re.MULTILINE))


def test_every_block_names_a_language_that_a_test_knows() -> None:
    """A block without a language is a drawing of README or of the page of the architecture."""
    known = {*PLAIN, "python", "sh", "console", "yaml", "json", "ini"}
    drawings = {Path("README.md"), Path("docs/explanation/architecture.md")}
    unknown = {(str(block.page), block.language) for block in BLOCKS if block.language not in known}
    assert unknown <= {(str(page), "") for page in drawings}


def test_every_block_ends() -> None:
    """The number of fences is even, so no text is taken for code."""
    assert [page for page in PAGES if len(re.findall(r"^ *```", text(page), re.MULTILINE)) % 2] == []


@pytest.mark.parametrize("block", blocks("python"))
def test_a_python_block_is_python(block: Block) -> None:
    """It parses; magic commands of notebooks are left out."""
    ast.parse(re.sub(r"^[%!].*$", "", block.code, flags=re.MULTILINE))


@pytest.mark.parametrize("block", blocks("json"))
def test_a_json_block_is_json(block: Block) -> None:
    """It can be copied into a file."""
    json.loads(block.code)


@pytest.mark.parametrize("block", blocks("yaml"))
def test_a_yaml_block_is_yaml(block: Block) -> None:
    """It has values, not only a comment."""
    assert yaml.safe_load(block.code)


@pytest.mark.parametrize("block", blocks("ini"))
def test_a_block_of_settings_has_settings_that_exist(block: Block) -> None:
    """Each line sets one of them."""
    assert {line.partition("=")[0] for line in block.code.splitlines()} <= {row.name for row in ROWS}


@pytest.mark.parametrize("block", blocks("sh", "console"))
def test_a_shell_block_is_understood_by_the_shell(block: Block) -> None:
    """Bash reads it without running it."""
    done = subprocess.run(["bash", "-n"], input=commands(block), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("block", blocks("sh", "console"))
def test_every_distq_command_of_a_shell_block_has_options_that_exist(block: Block) -> None:
    """Each line that begins with `distq` is read by the command line, and not run."""
    for line in commands(block).replace("\\\n", " ").splitlines():
        simple = re.split(r" [|&>]| 2>|;", line.partition(" #")[0])[0]
        if not simple.startswith("distq ") or "…" in simple:
            continue
        args = shlex.split(simple)[1:]
        command: click.Command = app
        context: click.Context | None = None
        while isinstance(command, click.Group) and args and args[0] not in ("--version", "--help"):
            context = command.make_context("distq", args, parent=context)
            args = [*context._protected_args, *context.args]
            _, found, args = command.resolve_command(context, args)
            assert found is not None
            command = found
        if not isinstance(command, click.Group):
            command.make_context(line, list(args), parent=context)


def test_every_abbreviated_page_has_an_abbreviation() -> None:
    """The list of exceptions has no page that needs none."""
    found = {str(block.page) for block in BLOCKS if block.language in ("sh", "console") and "\n…" in block.code}
    assert found == ABBREVIATED.keys()
