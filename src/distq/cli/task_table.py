"""Prints lists of tasks, for `distq list` and `distq dead list`."""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import click

from distq.cli.text import printable

Column = Callable[[dict[str, Any]], str]
"""Returns the text of a column for a task's row."""


def print_tasks(
    found: dict[str, Any], columns: Mapping[str, Column], *, as_json: bool, none: str, numbers: Sequence[str]
) -> None:
    """Print a master's list of tasks: as JSON, or as a table with id, queue, name and these columns."""
    if as_json:
        click.echo(json.dumps(found, indent=2))
        return
    if not found["tasks"]:
        click.echo(none)
        return
    from distq.cli.tables import print_table

    rows = [
        [*(printable(row[word]) for word in ("id", "queue", "name")), *(cell(row) for cell in columns.values())]
        for row in found["tasks"]
    ]
    print_table(["task", "queue", "name", *columns], rows, numbers=numbers)
