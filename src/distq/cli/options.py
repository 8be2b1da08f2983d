"""Options and arguments that several commands have."""

import click

from distq.cli.completion import complete_queues

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
