"""`python -m distq.cli.reference` writes the reference of the command line into the current folder."""

import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import click

from distq.cli.app import app
from distq.cli.examples import EXAMPLES
from distq.cli.json_fields import FIELDS

INTRODUCTION: Final = """\
# Command line

<!-- Written by `python -m distq.cli.reference` from src/distq/cli. -->

`distq COMMAND --help` prints the same in a terminal. `distq --env-file PATH COMMAND ...` reads settings from a file, by
default from `.env` in the current folder if it exists. [Settings](settings.md) lists the settings.

Exit codes: 0 success, 1 unhealthy or failed, 2 usage or settings, 3 the master cannot be reached or rejects the key, 4
the store failed, 130 interrupted by Ctrl-C.

With `--json`, instants (`..._at`, `since`) are seconds since 1970, durations (`..._s`) are seconds. A release may add
fields: ignore those that you do not know."""


def reference() -> str:
    """Return the text of the reference, in Markdown."""
    lines = [INTRODUCTION]
    for context, command in commands(app, click.Context(app, info_name="distq")):
        lines += section(context, command)
    return "\n".join(lines) + "\n"


def commands(group: click.Group, context: click.Context) -> Iterator[tuple[click.Context, click.Command]]:
    """Yield every command below a group, each group before its commands, with the context of its words."""
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        below = click.Context(command, info_name=name, parent=context)
        yield below, command
        if isinstance(command, click.Group):
            yield from commands(command, below)


def section(context: click.Context, command: click.Command) -> Iterator[str]:
    """Yield the lines about one command."""
    command_name = context.command_path.split(" ", 1)[1]
    yield from ("", f"## distq {command_name}", "")
    usage = " ".join([context.command_path, *command.collect_usage_pieces(context)])
    yield from ("```text", usage, "```", "", *inspect.cleandoc(command.help or "").splitlines(), "")
    records = [option.get_help_record(context) for option in command.params]
    if rows := [record for record in records if record is not None and record[1]]:  # the usage has the arguments
        yield from ("| option | description |", "|---|---|")
        yield from (f"| `{_cell(names)}` | {_cell(text)} |" for names, text in rows)
        yield ""
    if command_name in FIELDS:
        yield from ("| field of --json | description |", "|---|---|")
        yield from (f"| `{path}` | {_cell(text)} |" for path, text in FIELDS[command_name].items())
        yield ""
    yield from ("```sh", *(f"distq {line}" for line in EXAMPLES[command_name]), "```")


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", r"\|")


def main() -> None:
    """Write the page below the current folder, which must be the root of the repository."""
    Path("docs/reference/cli.md").write_text(reference(), encoding="utf-8")


if __name__ == "__main__":
    main()
