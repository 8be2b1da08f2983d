"""`distq mcp`: starts the server for one agent, on standard input and output."""

import sys
from typing import Final

import click

from distq.cli.environment import settings_of_command
from distq.settings import Role

EXTRA: Final = frozenset({"anyio", "jsonschema", "mcp", "mcp_types"})
"""The packages of `distq[mcp]` that the server imports."""
STARTED_BY_AGENTS: Final = (
    "distq: An agent starts this command, and writes requests of the Model Context Protocol to its standard input. "
    "Ctrl-C ends it."
)


@click.command("mcp")
@click.pass_context
def command(context: click.Context) -> None:
    """Let an agent read the state of the cluster: a server of the Model Context Protocol on standard input and output.

    The agent's program starts this command and ends it. Its tools list queues, tasks, dead letters and workers, show a
    task and say why it does not run. No tool changes anything. The server needs distq[mcp], and DISTQ_ADDRESS and the
    key as other commands do.
    """
    settings = settings_of_command(context, Role.CLIENT)
    try:
        from distq.cli.mcp.server import run
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in EXTRA:
            raise
        from distq.client.unsendable import ExtraMissing

        raise ExtraMissing("`distq mcp` needs the SDK of the protocol: pip install 'distq[mcp]'.") from None
    if sys.stdin.isatty():
        click.echo(STARTED_BY_AGENTS, err=True)
    run(settings)
