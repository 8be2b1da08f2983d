"""The commands of `distq`, and the messages and exit codes of their errors.

A command is a module with a `command`. It imports what it needs when it runs: `distq health`, which a container runs
every few seconds, imports neither logs nor metrics nor tables.
"""

import difflib
import importlib
import re
from collections.abc import Sequence
from contextlib import suppress

import click

from distq._version import __version__
from distq.cli import USAGE
from distq.cli.early import INTERRUPTED, SERVICES, command_of, raise_at_ctrl_c, shadowed
from distq.cli.exit_report import report_end
from distq.cli.groups import Group
from distq.cli.paths import in_words
from distq.core.errors import DistqError

COMMANDS = {
    "master": "distq.cli.master",
    "worker": "distq.cli.worker",
    "up": "distq.cli.up",
    "demo": "distq.cli.demo",
    "init": "distq.cli.init",
    "submit": "distq.cli.submit",
    "result": "distq.cli.result",
    "list": "distq.cli.list",
    "show": "distq.cli.show:show",
    "why": "distq.cli.show:why",
    "stack": "distq.cli.show:stack",
    "status": "distq.cli.status",
    "top": "distq.cli.top.command",
    "bench": "distq.cli.bench",
    "cancel": "distq.cli.cancel",
    "pause": "distq.cli.queues:pause",
    "resume": "distq.cli.queues:resume",
    "purge": "distq.cli.queues:purge",
    "queue": "distq.cli.queues",
    "schedule": "distq.cli.schedule",
    "dead": "distq.cli.dead",
    "store": "distq.cli.store",
    "health": "distq.cli.health",
    "doctor": "distq.cli.doctor.command",
    "key": "distq.cli.key",
    "tls": "distq.cli.tls",
    "tunnel": "distq.cli.tunnel",
    "settings": "distq.cli.settings",
    "mcp": "distq.cli.mcp.command",
    "completion": "distq.cli.completion",
}

UNFORESEEN = 1
ARGUMENT_CHARS_MAX = 200
"""Maximum characters of one argument in an error: a path fits, and the sentence about it stays visible."""
_LONG_NUMBER = re.compile(r"(\d{60})\d{60,}")
"""Long numbers are cut by their digits: a parsed number is written differently than the argument, as in 1_000."""


class Commands(Group):
    """A group that imports a command when it is named."""

    def list_commands(self, _context: click.Context) -> list[str]:
        """Return the names of all commands, in the order of COMMANDS."""
        return list(COMMANDS)

    def find(self, _context: click.Context, name: str) -> click.Command | None:
        """Return the command with this name, None without one."""
        if name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[name].partition(":")
        command: click.Command = getattr(importlib.import_module(module), attribute or "command")
        if name not in SERVICES:  # they replace the handler when they have something to finish
            raise_at_ctrl_c()
        return command


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="distq", message="%(prog)s %(version)s")
@click.option(
    "--env-file",
    metavar="PATH",
    help="Read settings from this file, by default from .env in the current folder if it exists.",
)
@click.pass_context
def app(context: click.Context, env_file: str | None) -> None:
    """A distributed task queue: one master, workers anywhere, plain Python clients.

    Exit codes: 0 success, 1 unhealthy or failed, 2 usage or settings, 3 the master cannot be reached or refuses
    the key, 4 the store failed, 130 interrupted.
    """
    context.obj = env_file


def run(args: Sequence[str]) -> int:
    """Run a command and return its exit code; errors are printed as sentences on standard error."""
    try:
        result = app.main(list(args), prog_name="distq", standalone_mode=False)
    except (click.Abort, KeyboardInterrupt):
        return INTERRUPTED
    except click.exceptions.NoArgsIsHelpError as error:
        with suppress(OSError, ValueError):  # as below
            click.echo(error.format_message(), err=True)
        return USAGE
    except Exception as error:
        if is_interrupted(error):
            return INTERRUPTED
        if isinstance(error, ImportError | AttributeError) and shadowed():
            raise  # the explanation needs modules that cannot be imported either
        known = in_words(error, is_service=command_of(list(args))[0] in SERVICES)
        text, exit_code = explained(known)
        text = without_long_arguments(text, args)
        with suppress(OSError, ValueError):  # standard error cannot be written either, or is closed
            report_end(args, text, exit_code, None if isinstance(known, DistqError | click.ClickException) else error)
        return exit_code
    return result if isinstance(result, int) else 0


def is_interrupted(error: BaseException | None) -> bool:
    """Whether Ctrl-C is behind an exception: Python up to 3.11 wraps it where it interrupts the making of a class."""
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__cause__
    return error is not None


def explained(error: Exception) -> tuple[str, int]:
    """Return the message for an error, and the exit code."""
    if isinstance(error, DistqError):
        if error.code == "CANNOT_REACH":
            from distq.cli.http_port import named_as_http_port

            error = named_as_http_port(error)
        return sentences(error), error.exit_code
    if isinstance(error, click.NoSuchOption) and error.possibilities:
        nearest = difflib.get_close_matches(error.option_name, error.possibilities, n=1, cutoff=0.0)
        error = click.NoSuchOption(error.option_name, possibilities=nearest, ctx=error.ctx)
    if isinstance(error, click.BadParameter):
        from distq.cli.wrong_values import with_advice

        error = with_advice(error)
    if isinstance(error, click.UsageError):
        where = error.ctx.command_path if error.ctx else "distq"
        return f"{_sentence(error.format_message())} See `{where} --help`.", USAGE
    if isinstance(error, click.ClickException):
        return _sentence(error.format_message()), error.exit_code
    return "This is a defect of distq. Please report it with the lines above.", UNFORESEEN


def without_long_arguments(text: str, args: Sequence[str]) -> str:
    """Return an error's text with each long argument cut to its beginning."""
    for arg in args:
        for value in (arg, arg.partition("=")[2]):
            if len(value) > ARGUMENT_CHARS_MAX:
                beginning = f"{value[:ARGUMENT_CHARS_MAX]}… ({len(value):,} characters)"
                text = text.replace(repr(value)[1:-1], beginning).replace(value, beginning)
    return _LONG_NUMBER.sub(lambda found: f"{found[1]}…", text)


def sentences(error: DistqError) -> str:
    """Return the message for an error: what happened, then what to do."""
    fact = str(error) or type(error).__doc__ or error.code
    return " ".join(_sentence(part) for part in (fact, error.hint) if part)


def _sentence(text: str) -> str:
    text = text.strip()
    if text.partition(" ")[0].rstrip(",:").isalpha():  # names of files, settings and commands stay as they are
        text = text[:1].upper() + text[1:]
    return text + ("" if text.endswith((".", "!", "?")) else ".")
