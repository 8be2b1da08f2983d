"""The columns of every table that a command prints: a script that reads them must not break by a rename."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import click
import pytest
from tests.e2e.cluster import Cluster, cluster
from tests.e2e.test_client import command
from tests.tidy.tree import ROOT

from distq.cli.app import app

COLUMNS: Final = {
    "dead list": ["task queue name died failures lost cause"],
    "list": ["task queue name state for age attempt holder"],
    "schedule list": ["schedule by task queue when next last runs skipped"],
    "settings": ["setting value source description"],
    "status": [
        "queue ready held delayed leased dead capacity oldest mean_run limits",
        "worker pool slots busy state memory host pid version python seen",
    ],
}
"""Each command with the header of each of its tables; a column with two words has an underscore here."""


@pytest.fixture(name="busy", scope="module")
def cluster_with_rows(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Yield a cluster in which every listing command has a row; tests only read it."""
    with cluster(tmp_path_factory.mktemp("columns")) as grid:
        grid.master()
        grid.tasks().logs("executor_joined")
        assert command(grid, "submit", "tests.e2e.tasks:divide", "1", "0", "--wait").returncode == 1
        assert command(grid, "submit", "nowhere:waits").returncode == 0
        assert command(grid, "schedule", "add", "yearly", "square", "2", "--every", "365d").returncode == 0
        yield grid


def headers(output: str) -> list[str]:
    """Return the header of each table of an output: the line above each rule."""
    found = re.findall(r"^(.+)\n *─+ *$", output, re.MULTILINE)
    return [" ".join(column.replace(" ", "_") for column in re.split(r" {2,}", line.strip())) for line in found]


@pytest.mark.parametrize("name", COLUMNS)
def test_the_columns_of_a_command_are_those_of_the_table(busy: Cluster, name: str) -> None:
    """Their names and their order are part of the interface, as the fields of `--json` are."""
    assert headers(command(busy, *name.split()).stdout) == COLUMNS[name]


def test_the_columns_of_every_command_that_prints_a_table_are_tested() -> None:
    """A command that repeats its output has a table, and so has a module that prints one."""
    watched = set()
    context = click.Context(app)
    for name in app.list_commands(context):
        found = app.get_command(context, name)
        assert found is not None
        of_group = found.commands.items() if isinstance(found, click.Group) else []
        commands = {f"{name} {part}": one for part, one in of_group} or {name: found}
        watched |= {words for words, one in commands.items() if any("--watch" in param.opts for param in one.params)}
    assert watched == COLUMNS.keys() - {"settings"}
    printing = {
        path.stem
        for path in Path(ROOT, "src/distq/cli").glob("**/*.py")
        if re.search(r"^ +print_(?:table|tasks)\(", path.read_text(), re.MULTILINE)
    }
    assert printing - {"task_table"} == {name.split()[0] for name in COLUMNS}
