"""The frame of the command line: which commands there are, and how their errors end.

A command is a module with a `command`; it imports what it needs when it runs, so that `distq health`,
which a container runs every few seconds, imports neither the logs nor the metrics nor the terminal's tables.
"""

import importlib
import re
from collections.abc import Sequence

import click

from distq._version import __version__
from distq.cli import USAGE
from distq.cli.early import INTERRUPTED, shadowed
from distq.cli.groups import Group
from distq.cli.last_words import say_why
from distq.cli.paths import in_words
from distq.core.errors import DistqError

COMMANDS = {
    "master": "distq.cli.master",
    "worker": "distq.cli.worker",
    "up": "distq.cli.up",
    "demo": "distq.cli.demo",
    "submit": "distq.cli.submit",
    "result": "distq.cli.result",
    "list": "distq.cli.list",
    "show": "distq.cli.looks:show",
    "why": "distq.cli.looks:why",
    "stack": "distq.cli.looks:stack",
    "status": "distq.cli.status",
    "cancel": "distq.cli.cancel",
    "pause": "distq.cli.queues:pause",
    "resume": "distq.cli.queues:resume",
    "purge": "distq.cli.queues:purge",
    "queue": "distq.cli.queues",
    "schedule": "distq.cli.schedule",
    "dead": "distq.cli.dead",
    "store": "distq.cli.store",
    "health": "distq.cli.health",
    "key": "distq.cli.key",
    "settings": "distq.cli.settings",
}

UNFORESEEN = 1
ARGUMENT_CHARS_MAX = 200
"""Characters of one argument that an error repeats: a path still fits, and the sentence about it is seen."""
_LONG_NUMBER = re.compile(r"(\d{60})\d{60,}")
"""A number that was read is not written as it was given: 1_000 has other characters then."""


class Commands(Group):
    """A group whose commands are imported when they are named."""

    def list_commands(self, _context: click.Context) -> list[str]:
        """The names of all commands, in the order of the table."""
        return list(COMMANDS)

    def find(self, _context: click.Context, name: str) -> click.Command | None:
        """The command with this name, None if there is none."""
        if name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[name].partition(":")
        command: click.Command = getattr(importlib.import_module(module), attribute or "command")
        return command


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="distq", message="%(prog)s %(version)s")
@click.option(
    "--env-file",
    metavar="PATH",
    help="Read settings from this file too; .env in the current folder is read when there is one.",
)
@click.pass_context
def app(context: click.Context, env_file: str | None) -> None:
    """A distributed task queue: one master, workers anywhere, plain Python clients.

    Exit codes: 0 done, 1 unhealthy or failed, 2 usage or settings, 3 the master cannot be reached or does
    not let in, 4 the store failed, 130 interrupted.
    """
    context.obj = env_file


def run(args: Sequence[str]) -> int:
    """Run a command and return its exit code; errors become sentences on standard error."""
    try:
        result = app.main(list(args), prog_name="distq", standalone_mode=False)
    except (click.Abort, KeyboardInterrupt):
        return INTERRUPTED
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        return USAGE
    except Exception as error:
        if isinstance(error, ImportError | AttributeError) and shadowed():
            raise  # explaining it takes modules that cannot be imported either
        told = in_words(error)
        text, exit_code = explained(told)
        text = without_long_arguments(text, args)
        say_why(args, text, exit_code, None if isinstance(told, DistqError | click.ClickException) else error)
        return exit_code
    return result if isinstance(result, int) else 0


def explained(error: Exception) -> tuple[str, int]:
    """What to tell a person about an error, and what to exit with."""
    if isinstance(error, DistqError):
        return sentences(error), error.exit_code
    if isinstance(error, click.UsageError):
        where = error.ctx.command_path if error.ctx else "distq"
        return f"{_sentence(error.format_message())} See `{where} --help`.", USAGE
    if isinstance(error, click.ClickException):
        return _sentence(error.format_message()), error.exit_code
    return "This is a defect of distq. Please report it with the lines above.", UNFORESEEN


def without_long_arguments(text: str, args: Sequence[str]) -> str:
    """An error's text in which a long argument is repeated by its beginning alone, however a command repeats it."""
    for arg in args:
        for value in (arg, arg.partition("=")[2]):
            if len(value) > ARGUMENT_CHARS_MAX:
                beginning = f"{value[:ARGUMENT_CHARS_MAX]}… ({len(value):,} characters)"
                text = text.replace(repr(value)[1:-1], beginning).replace(value, beginning)
    return _LONG_NUMBER.sub(lambda found: f"{found[1]}…", text)


def sentences(error: DistqError) -> str:
    """What to tell a person about an error: what happened, then what to do."""
    said = str(error) or type(error).__doc__ or error.code
    return " ".join(_sentence(part) for part in (said, error.hint) if part)


def _sentence(text: str) -> str:
    text = text.strip()
    if text.partition(" ")[0].rstrip(",:").isalpha():  # a file's name, a setting's or a command's stays as it is
        text = text[:1].upper() + text[1:]
    return text + ("" if text.endswith((".", "!", "?")) else ".")
