"""Repeats a listing, on one connection until that is lost, for the option `--watch` of the listing commands."""

import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import partial
from typing import Any, Final, TypeVar

import click

from distq.cli.ask import PATIENCE_S, connected, seconds
from distq.cli.environment import settings_of_command
from distq.net.dial import CannotReach, Connection, ConnectionLost
from distq.protocol.methods import ADMIN, BROKER
from distq.settings import Role, Settings

WATCH_S: Final = "2s"
"""Pause between two lists of --watch without a value."""
PAUSE_S_MIN: Final = 0.1
"""Minimum pause between two lists: a shorter one loads the master and shows no more."""

RECONNECT_S: Final = 1.0
"""Pause between two attempts to reach a lost master."""

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
    """Show what `fetch` returns, once or every `every` until Ctrl-C; on a terminal, each time on a clear screen.

    After the first list, a master that is lost does not end the command: `fetch` is called until it answers again.
    """
    pause_s = None if every is None else seconds(every, "--watch")
    if pause_s is not None and pause_s < PAUSE_S_MIN:
        raise click.BadParameter(f"{every!r} is too short: the minimum is {PAUSE_S_MIN:g} s.", param_hint="--watch")
    found = fetch()
    while True:
        if pause_s is not None:
            click.clear()  # does nothing where standard output is not a terminal
        show(found)
        if pause_s is None:
            return
        sys.stdout.flush()
        time.sleep(pause_s)
        found = _fetched_again(fetch)


def _fetched_again(fetch: Callable[[], Found]) -> Found:
    """Return what `fetch` returns, once the master can be reached; say at the first failure that it cannot be."""
    is_lost = False
    while True:
        try:
            return fetch()
        except (CannotReach, ConnectionLost) as error:
            if not is_lost:
                click.echo(f"distq: {error} Connecting again until the master answers; Ctrl-C ends.", err=True)
            is_lost = True
        time.sleep(RECONNECT_S)


class Reconnecting:
    """A connection to the master, which is made again at the next use after it was lost."""

    def __init__(self, settings: Settings, command: str, wait_s: float = PATIENCE_S) -> None:
        self._connect: Callable[[], Connection] = partial(connected, settings, command, wait_s)
        self._connection = self._connect()

    def close(self) -> None:
        """End the connection."""
        self._connection.close()

    def current(self) -> Connection:
        """Return an open connection; raises as `connected` does."""
        if self._connection.fileno() < 0:
            self._connection = self._connect()
        return self._connection


@contextmanager
def asking(context: click.Context, command: str, answer_s: float = PATIENCE_S) -> Iterator[Ask]:
    """Yield a function that asks the master; it raises as `connected` does."""
    with closing(Reconnecting(settings_of_command(context, Role.CLIENT), command)) as master:
        yield lambda what, asked: master.current().call(BROKER, ADMIN, (what, asked), timeout_s=answer_s)


def print_json(found: object, every: str | None) -> None:
    """Print a list as JSON: indented, or with --watch in one line."""
    click.echo(json.dumps(found, indent=2 if every is None else None))
