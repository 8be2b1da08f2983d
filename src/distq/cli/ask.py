"""A command's connection to the master."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click

from distq.cli.environment import settings_of_command
from distq.core.ranges import DAY_S, DURATION_MAX_S
from distq.net.dial import Connection
from distq.net.several_keys import dial_with_any
from distq.net.tls_files import client_files
from distq.protocol.hello import CLI, write_hello
from distq.protocol.methods import ADMIN, BROKER, HELLO
from distq.settings import Role, Settings
from distq.settings.current_keys import current_authkeys
from distq.settings.kinds import DURATION

PATIENCE_S = 5.0
"""Seconds in which a command must reach the master, and in which the master must answer."""
ACTION_S = 600.0
"""Maximum seconds of an action on millions of tasks."""


def connected(settings: Settings, command: str, wait_s: float = PATIENCE_S) -> Connection:
    """Return a new connection to the master.

    Raises:
        CannotReach: no master answers within `wait_s`.
        AuthenticationFailed: the master does not accept the key.
    """
    connection = dial_with_any(
        settings.address,
        current_authkeys(settings).now(),
        timeout_s=wait_s,
        frame_bytes_max=settings.frame_bytes_max,
        tls=client_files(settings),
    )
    try:
        connection.call(BROKER, HELLO, (write_hello(CLI, command, ""),), timeout_s=wait_s)
    except BaseException:
        connection.close()
        raise
    return connection


@contextmanager
def master(settings: Settings, command: str, wait_s: float = PATIENCE_S) -> Iterator[Connection]:
    """Connect to the master for the length of a `with`; raises as `connected` does."""
    connection = connected(settings, command, wait_s)
    try:
        yield connection
    finally:
        connection.close()


def admin(context: click.Context, what: str, asked: dict[str, Any], answer_s: float = PATIENCE_S) -> Any:
    """Return the master's answer to a request of an operator; raises as `master` does, and RemoteRefusal."""
    with master(settings_of_command(context, Role.CLIENT), what) as connection:
        return connection.call(BROKER, ADMIN, (what, asked), timeout_s=answer_s)


def seconds(text: str, option: str) -> float:
    """Return the duration that an option was given, in seconds.

    Raises:
        BadParameter: the text is no duration, or one of more than 366 days.
    """
    try:
        duration_s = float(str(DURATION.parse(text)))
    except ValueError:
        raise click.BadParameter(f"{text!r} is no duration. It takes {DURATION.accepts}", param_hint=option) from None
    if duration_s > DURATION_MAX_S:
        raise click.BadParameter(
            f"{text!r} is too long: it is at most {DURATION_MAX_S / DAY_S:g} days.", param_hint=option
        )
    return duration_s
