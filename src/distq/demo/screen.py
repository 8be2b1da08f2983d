"""Prints the demo's lines and progress: a bar on a terminal, plain lines elsewhere."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from rich.progress import Progress


class Screen(Protocol):
    """Prints the demo's lines and its progress."""

    def say(self, line: str) -> None:
        """Print a line."""

    def advance(self) -> None:
        """Count one more finished task."""


@contextmanager
def screen(tasks: int) -> Iterator[Screen]:
    """The screen for this standard output, counting up to `tasks` tasks."""
    if not sys.stdout.isatty():
        yield PlainLines(tasks)
        return
    # Only a terminal needs it, and its import takes 60 ms.
    from rich.progress import (  # noqa: PLC0415
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
    )

    columns = (TextColumn("tasks"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, redirect_stdout=False, redirect_stderr=False) as progress:
        yield Bar(progress, tasks)


class PlainLines:
    """Plain lines, for files and pipes."""

    def __init__(self, tasks: int) -> None:
        self._tasks = tasks
        self._done = 0

    def say(self, line: str) -> None:
        """Print a line."""
        print(line, flush=True)  # noqa: T201 - this is its output

    def advance(self) -> None:
        """Print the number of finished tasks."""
        self._done += 1
        self.say(f"  {self._done}/{self._tasks} done")


class Bar:
    """A bar below the lines."""

    def __init__(self, progress: "Progress", tasks: int) -> None:
        self._progress = progress
        self._task = progress.add_task("tasks", total=tasks)

    def say(self, line: str) -> None:
        """Print a line above the bar."""
        self._progress.console.print(line, highlight=False, markup=False)

    def advance(self) -> None:
        """Move the bar by one task."""
        self._progress.advance(self._task)
