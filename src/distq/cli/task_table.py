"""Prints lists of tasks, for `distq list` and `distq dead list`."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import click

from distq.cli.text import printable

Column = Callable[[dict[str, Any]], str]
"""Returns the text of a column for a task's row."""


def print_tasks(
    tasks: Sequence[dict[str, Any]], columns: Mapping[str, Column], *, none: str, numbers: Sequence[str]
) -> None:
    """Print a table of tasks with id, queue, name and these columns, or the sentence `none` if there are none."""
    if not tasks:
        click.echo(none)
        return
    from distq.cli.tables import print_table

    rows = [
        [*(printable(row[field]) for field in ("id", "queue", "name")), *(cell(row) for cell in columns.values())]
        for row in tasks
    ]
    print_table(["task", "queue", "name", *columns], rows, numbers=numbers)
