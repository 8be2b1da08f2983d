"""Groups of commands: their help shows whole sentences and examples, and suggests the nearest name."""

import difflib
from collections.abc import Callable
from typing import Any, Final

import click

from distq.cli.examples import EXAMPLES

_ALL_CHARS: Final = 10_000
"""Maximum characters of a command's sentence in the list: it is wrapped, never cut."""

ELSEWHERE: Final = {
    "ls": "Did you mean `distq list`?",
    "ps": "Did you mean `distq list`?",
    "tasks": "`distq list` lists tasks.",
    "queues": "`distq status` lists queues.",
    "workers": "`distq status` lists workers.",
    "schedules": "`distq schedule list` lists schedules.",
    **dict.fromkeys(("queue list", "queue ls", "queue show", "queue status"), "`distq status` lists queues."),
    **{f"queue {name}": f"Did you mean `distq {name} --queue NAME`?" for name in ("pause", "resume", "purge")},
}
"""What does the work of a command that does not exist, by the words after `distq`."""

_HEAD: Final = "\b\nExamples:"
"""Begins a paragraph whose lines click does not wrap."""


class Group(click.Group):
    """A group whose list has whole sentences, and whose errors suggest a command."""

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
        """Find the command that the arguments name; without one, the error suggests the nearest name."""
        if self.get_command(context, args[0]) is None and not args[0].startswith("-"):
            near = difflib.get_close_matches(args[0], self.list_commands(context), n=1, cutoff=0.6)
            elsewhere = ELSEWHERE.get(f"{context.command_path} {args[0]}".partition(" ")[2])
            meant = f" Did you mean `{context.command_path} {near[0]}`?" if near else ""
            meant = meant if elsewhere is None else f" {elsewhere}"
            raise click.UsageError(f"No such command {args[0]!r}.{meant}", context)
        return super().resolve_command(context, args)

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        """Return the command with this name and its examples, None without one."""
        command = self.find(context, name)
        path = f"{context.command_path} {name}".split(" ", 1)[1]
        if command is not None and (lines := EXAMPLES.get(path)):
            examples = "\n".join([_HEAD, *(f"  distq {line}" for line in lines)])
            # Replaced each time: a group that was called without the groups around it had the examples of another path.
            own = (command.epilog or "").partition(_HEAD)[0].rstrip("\n")
            command.epilog = "\n\n".join(filter(None, [own, examples]))
        return command

    def find(self, context: click.Context, name: str) -> click.Command | None:
        """Return the command with this name as `click.Group` does, None without one."""
        return super().get_command(context, name)


def group(name: str) -> Callable[[Callable[..., Any]], Group]:
    """Declare a group of commands, as `click.group` does."""
    return click.group(name, cls=Group)
