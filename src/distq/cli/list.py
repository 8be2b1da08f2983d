"""`distq list`: lists waiting, running and ended tasks."""

import time
from typing import Any

import click

from distq.cli.ask import ACTION_S, admin, seconds
from distq.cli.task_table import Column, print_tasks
from distq.cli.text import duration, printable

STATES = (
    "waiting",
    "running",
    "ended",
    "ready",
    "delayed",
    "held",
    "leased",
    "succeeded",
    "dead",
    "cancelled",
    "expired",
)


@click.command("list")
@click.option("--queue", metavar="QUEUE", help="Tasks of this queue.")
@click.option("--name", metavar="NAME", help="Tasks of this name.")
@click.option(
    "--state", "states", type=click.Choice(STATES), multiple=True, help="Tasks in this state; may be repeated."
)
@click.option("--older", metavar="DURATION", help="Tasks submitted longer ago than this, as in 10m.")
@click.option("--limit", type=click.IntRange(1, 10_000), default=100, show_default=True, help="Maximum tasks.")
@click.option("--after", metavar="ID", help="Continue after this task, the last one of the previous list.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object instead of a table.")
@click.pass_context
def command(context: click.Context, /, states: tuple[str, ...], older: str | None, as_json: bool, **asked: Any) -> None:
    """List tasks, the oldest first: waiting and running tasks, or the tasks in the states of --state.

    A state is waiting (ready, delayed or held), running (leased), or ended (succeeded, dead, cancelled or expired).
    Of ended tasks, the master knows dead letters and tasks whose results it keeps.
    """
    now = time.time()  # noqa: TID251 - the ages in the list are of this clock
    before_at = None if older is None else now - seconds(older, "--older")
    found = admin(context, "list", {**asked, "states": list(states), "before_at": before_at}, ACTION_S)
    columns: dict[str, Column] = {
        "state": lambda row: row["state"],
        "for": lambda row: duration(max(now - row["since"], 0.0)),
        "age": lambda row: duration(max(now - row["submitted_at"], 0.0)),
        "attempt": lambda row: str(row["attempt"]),
        "holder": lambda row: printable(row["holder"] or "-"),
    }
    print_tasks(found, columns, as_json=as_json, none="There is no such task.", numbers=["for", "age", "attempt"])
    if found["next"] and not as_json:
        click.echo(f"There are more: continue with --after {found['next']}.")
