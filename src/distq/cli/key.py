"""`distq key`: makes an authkey, or shows the one in use."""

import click

from distq.cli.environment import settings_of_command
from distq.cli.groups import group
from distq.settings import Role


@group("key")
def command() -> None:
    """Make an authkey, or show the one in use."""


@command.command("new")
def new() -> None:
    """Print a new random key: letters, digits, '-' and '_'."""
    from distq.settings.authkey import new_authkey

    click.echo(new_authkey())


@command.command("show")
@click.pass_context
def show(context: click.Context) -> None:
    """Print the keys of the settings, one per line; clients and workers use the first."""
    settings = settings_of_command(context, Role.CLIENT)
    for key in settings.authkeys:
        click.echo(key)
