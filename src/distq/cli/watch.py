"""Repeats a listing on one connection, for the option `--watch` of the listing commands."""

import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final, TypeVar

import click

from distq.cli.ask import PATIENCE_S, master, seconds
from distq.cli.environment import settings_of_command
from distq.protocol.methods import ADMIN, BROKER
from distq.settings import Role

WATCH_S: Final = "2s"
"""Pause between two lists of --watch without a value."""
PAUSE_S_MIN: Final = 0.1
"""Minimum pause between two lists: a shorter one loads the master and shows no more."""

Found = TypeVar("Found")
Ask = Callable[[str, dict[str, Any]], Any]
"""Returns the master's answer to a request of an operator."""

watch_option = click.option(
    "--watch",
    metavar="[DURATION]",
    is_flag=False,
    flag_value=WATCH_S,
    help=f"Repeat the list until Ctrl-C, every {WATCH_S} or every DURATION; with --json, one line for each list.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of tables.")


def repeat(every: str | None, fetch: Callable[[], Found], show: Callable[[Found], None]) -> None:
    """Show what `fetch` returns, once or every `every` until Ctrl-C; on a terminal, each time on a clear screen."""
    pause_s = None if every is None else seconds(every, "--watch")
    if pause_s is not None and pause_s < PAUSE_S_MIN:
        raise click.BadParameter(f"{every!r} is too short: the minimum is {PAUSE_S_MIN:g} s.", param_hint="--watch")
    while True:
        found = fetch()
        if pause_s is not None:
            click.clear()  # does nothing where standard output is not a terminal
        show(found)
        if pause_s is None:
            return
        sys.stdout.flush()
        time.sleep(pause_s)


@contextmanager
def asking(context: click.Context, command: str, answer_s: float = PATIENCE_S) -> Iterator[Ask]:
    """Yield a function that asks the master on one connection; raises as `master` does."""
    with master(settings_of_command(context, Role.CLIENT), command) as connection:
        yield lambda what, asked: connection.call(BROKER, ADMIN, (what, asked), timeout_s=answer_s)


def print_json(found: object, every: str | None) -> None:
    """Print a list as JSON: indented, or with --watch in one line."""
    click.echo(json.dumps(found, indent=2 if every is None else None))
