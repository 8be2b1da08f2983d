"""Prints tables with rich."""

from collections.abc import Iterable, Sequence

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

PIPE_COLUMNS = 200
"""Width without a terminal: grep finds whole rows."""
COLUMNS_MIN = 40
"""Minimum width: on a narrower terminal, whose lines wrap, cells would be empty."""


def print_table(
    columns: Sequence[str], rows: Iterable[Sequence[str]], *, title: str = "", numbers: Sequence[str] = ()
) -> None:
    """Print a table to standard output; columns named in `numbers` are aligned to the right.

    Cells are plain text: rich reads no markup in the name of a peer.
    """
    console = Console(highlight=False)
    console.width = max(console.width, COLUMNS_MIN) if console.is_terminal else PIPE_COLUMNS
    table = Table(title=title or None, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        table.add_column(column, justify="right" if column in numbers else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    console.print(table)
