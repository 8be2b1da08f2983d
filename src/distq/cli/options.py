"""Options and arguments that several commands have."""

import re
import shlex
from difflib import get_close_matches

import click

from distq.cli.completion import complete_queues


class TakesJson(click.Command):
    """A command whose arguments are JSON and may begin with a hyphen, as negative numbers do."""

    ignore_unknown_options = True

    def parse_args(self, context: click.Context, args: list[str]) -> list[str]:
        """Parse the arguments; one that begins with two hyphens is an error: no name and no JSON begins so."""
        try:
            rest = super().parse_args(context, list(args))
        except click.MissingParameter:  # a mistyped option may have been taken for an argument
            known = {name for param in self.get_params(context) for name in param.opts}
            for text in args:
                if text.partition("=")[0] not in known:
                    self._refuse_option(context, text)
            raise
        if context.resilient_parsing:  # a shell completes the line
            return rest
        for argument in (param for param in self.params if isinstance(param, click.Argument)):
            value = context.params[argument.name or ""]
            for text in value if isinstance(value, tuple) else (value,):
                self._refuse_option(context, text)
        return rest

    def _refuse_option(self, context: click.Context, text: str | None) -> None:
        word = (text or "").partition("=")[0]
        if word.startswith("--") or (word.startswith("-") and word[1:2].isalpha() and word != "-Infinity"):
            known = [name for option in self.params for name in option.opts if name.startswith("--")]
            raise click.NoSuchOption(word, possibilities=get_close_matches(word, known, n=1), ctx=context)


def in_options(error: Exception, context: click.Context) -> str:
    """Return the text of an error of the client, with the command's options in place of its keyword arguments."""
    spelt = {option.name: option.opts[0] for option in context.command.params if isinstance(option, click.Option)}
    words = "|".join(name for name in spelt if name)
    pattern = rf"^(?:{words})(?= is | needs | has )|(?<= needs )(?:{words})\b|\b(?:{words})(?= \()"
    sentence = str(error).replace("seconds, a timedelta, or a text as in", "seconds, or a text as in")
    return re.sub(pattern, lambda found: spelt[found[0]], sentence)


def checked_id(text: str) -> str:
    """Return the id of a task; any other text is an error of usage, before the master is asked."""
    from distq.core.task_ids import task_key_of

    try:
        task_key_of(text)
    except ValueError:
        raise click.UsageError(f"{text!r} is no task id; task ids look like 1a-2f.") from None
    return text


task_id = click.argument("task_id", metavar="ID", type=checked_id)
task_ids = click.argument("ids", metavar="[ID ...]", type=checked_id, nargs=-1)


class QueueByOption(click.Command):
    """A command that takes the queue by an option, and says so if it is given as an argument."""

    allow_extra_args = True

    def parse_args(self, context: click.Context, args: list[str]) -> list[str]:
        """Parse the arguments; raises UsageError if one is left."""
        rest = super().parse_args(context, args)
        if rest and not context.resilient_parsing:
            meant = f" Did you mean `--queue {shlex.quote(rest[0])}`?" if context.params["queue"] is None else ""
            raise click.UsageError(f"Got unexpected extra argument {rest[0]!r}.{meant}", context)
        return rest


def confirm(question: str) -> None:
    """Ask a question; raises Abort at any answer but yes, and UsageError if there can be no answer."""
    try:
        click.confirm(question, abort=True)
    except click.Abort as error:
        if not isinstance(error.__context__, EOFError):
            raise
        click.echo()  # ends the line of the question
        raise click.UsageError(
            "Standard input has no answer to the question: --yes answers yes.", click.get_current_context()
        ) from None


arguments_of_task = click.argument("texts", metavar="[JSON ...]", nargs=-1)
queue_of_task = click.option(
    "--queue",
    shell_complete=complete_queues,
    metavar="NAME",
    default="default",
    show_default=True,
    help="Queue of the task.",
)
json_object = click.option("--json", "as_json", is_flag=True, help="Print a JSON object.")
without_question = click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
only_count = click.option("--dry-run", is_flag=True, help="Only count them.")
