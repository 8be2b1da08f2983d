"""Groups of commands as beginners need them: whole sentences in the list, examples, and the name that was meant."""

import difflib
from collections.abc import Callable
from typing import Any, Final

import click

from distq.cli.examples import EXAMPLES

_ALL_CHARS: Final = 10_000
"""Length of a command's sentence in the list: it is wrapped, never cut off."""


_HEAD: Final = "\b\nExamples:"
"""Begins a paragraph whose lines stay as they are."""


class Group(click.Group):
    """A group that lists whole sentences and says which command was meant."""

    def format_commands(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands, each with its first sentence."""
        rows = []
        for name in self.list_commands(context):
            command = self.get_command(context, name)
            if command is not None and not command.hidden:
                rows.append((name, command.get_short_help_str(_ALL_CHARS)))
        with formatter.section("Commands"):
            formatter.write_dl(rows)

    def resolve_command(
        self, context: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command that the arguments name; if there is none, say which one is nearest."""
        if self.get_command(context, args[0]) is None and not args[0].startswith("-"):
            near = difflib.get_close_matches(args[0], self.list_commands(context), n=1, cutoff=0.6)
            meant = f" Did you mean `{context.command_path} {near[0]}`?" if near else ""
            raise click.UsageError(f"No such command {args[0]!r}.{meant}", context)
        return super().resolve_command(context, args)

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        """The command with this name, its examples added, None if there is none."""
        command = self.find(context, name)
        path = f"{context.command_path} {name}".split(" ", 1)[1]
        if command is not None and (lines := EXAMPLES.get(path)) and _HEAD not in (command.epilog or ""):
            examples = "\n".join([_HEAD, *(f"  distq {line}" for line in lines)])
            command.epilog = "\n\n".join(filter(None, [command.epilog, examples]))
        return command

    def find(self, context: click.Context, name: str) -> click.Command | None:
        """The command with this name, as `click.Group` has it."""
        return super().get_command(context, name)


def group(name: str) -> Callable[[Callable[..., Any]], Group]:
    """Declare a group of commands, as `click.group` does."""
    return click.group(name, cls=Group)
