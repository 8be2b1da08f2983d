"""A command's connection to the master."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click

from distq.cli.environment import settings_of_command
from distq.net.dial import Connection, dial
from distq.protocol.hello import CLI, write_hello
from distq.protocol.methods import ADMIN, BROKER, HELLO
from distq.settings import Role, Settings
from distq.settings.kinds import DURATION

PATIENCE_S = 5.0
"""How long a command tries to reach the master, and waits for an answer."""
ACTION_S = 600.0
"""What is done to very many tasks takes its time."""


@contextmanager
def master(settings: Settings, command: str, wait_s: float = PATIENCE_S) -> Iterator[Connection]:
    """A connection that has said hello, for the length of a `with`.

    Raises:
        CannotReach: nobody answers within `wait_s`.
        AuthenticationFailed: the key is not the master's.
    """
    connection = dial(
        settings.address, settings.authkeys[0], timeout_s=wait_s, frame_bytes_max=settings.frame_bytes_max
    )
    try:
        connection.call(BROKER, HELLO, (write_hello(CLI, command, ""),), timeout_s=wait_s)
        yield connection
    finally:
        connection.close()


def admin(context: click.Context, what: str, asked: dict[str, Any], answer_s: float = PATIENCE_S) -> Any:
    """What the master answers to an operator's request; raises as `master` does, and RemoteRefusal."""
    with master(settings_of_command(context, Role.CLIENT), what) as connection:
        return connection.call(BROKER, ADMIN, (what, asked), timeout_s=answer_s)


def seconds(text: str, option: str) -> float:
    """A duration given as an option, in seconds.

    Raises:
        BadParameter: it cannot be read as one.
    """
    try:
        return float(str(DURATION.parse(text)))
    except ValueError:
        raise click.BadParameter(f"{text!r} cannot be read. It takes {DURATION.accepts}", param_hint=option) from None
