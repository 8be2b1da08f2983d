"""`distq completion`: prints the script by which a shell completes commands, options and names of queues."""

import re
from typing import Final

import click

SHELLS: Final = ("bash", "zsh", "fish")
VARIABLE: Final = "_DISTQ_COMPLETE"
"""The environment variable by which the script asks distq for completions; click derives it from the program's name."""
ANSWER_S: Final = 0.3
"""Maximum seconds for each step of asking the master: a longer wait for Tab is worse than no names."""
NAMES_MAX: Final = 500
"""Maximum queues that the master is asked for: more are no help on a screen."""
_PLAIN: Final = re.compile(r"[\w.:/@%+-]+")
"""A name that no shell expands: bash inserts it without quotes."""


@click.command("completion")
@click.argument("shell", metavar="SHELL", type=click.Choice(SHELLS))
@click.pass_context
def command(context: click.Context, shell: str) -> None:
    """Print the script that completes distq's commands, options and queues in a SHELL: bash, zsh or fish.

    Load it in the file that your shell reads at its start. The names of queues come from the master; if it does not
    answer quickly, there are none. Names with other characters than letters, digits and _.:/@%+- are left out.
    """
    from click.shell_completion import get_completion_class

    found = get_completion_class(shell)
    assert found is not None
    click.echo(found(context.find_root().command, {}, "distq", VARIABLE).source())


def complete_queues(context: click.Context, _parameter: click.Parameter, beginning: str) -> list[str]:
    """Return the names of the master's queues that begin with a text; none on any failure."""
    from distq.cli.ask import master
    from distq.cli.environment import read_settings
    from distq.protocol.methods import ADMIN, BROKER
    from distq.settings import Role

    root = context.find_root()
    root.obj = root.params.get("env_file")
    asked = {"view": "queues", "sort": "name", "filter": beginning, "limit": NAMES_MAX}
    try:
        settings = read_settings(context, Role.CLIENT).settings
        with master(settings, "completion", ANSWER_S) as connection:
            page = connection.call(BROKER, ADMIN, ("live", asked), timeout_s=ANSWER_S)
        assert isinstance(page, dict)
        return [
            row["name"] for row in page["rows"] if row["name"].startswith(beginning) and _PLAIN.fullmatch(row["name"])
        ]
    except Exception:  # noqa: BLE001 - a message would appear in the line that the user types
        return []
