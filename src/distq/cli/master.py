"""`distq master`: runs the master."""

import click

from distq.cli.environment import settings_of_service
from distq.settings import Role


@click.command("master")
@click.pass_context
def command(context: click.Context) -> int:
    """Run the master, which holds the queues, until SIGTERM, SIGHUP or Ctrl-C."""
    settings = settings_of_service(context, Role.MASTER)
    from distq.master.start import run

    return run(settings)
