"""`distq list`: what waits, runs and has ended, task by task."""

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
@click.option("--older", metavar="DURATION", help="Tasks that were submitted longer ago than that, as in 10m.")
@click.option("--limit", type=click.IntRange(1, 10_000), default=100, show_default=True, help="At most N tasks.")
@click.option("--after", metavar="ID", help="Go on after this task: the last one of the list before.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object instead of a table.")
@click.pass_context
def command(context: click.Context, /, states: tuple[str, ...], older: str | None, as_json: bool, **asked: Any) -> None:
    """List tasks, the oldest first: those that wait and run, or those in the states that are named.

    A state is waiting (which is ready, delayed or held), running (leased), or ended (succeeded, dead, cancelled or
    expired). Of those that have ended, the master knows dead letters and those whose results it keeps.
    """
    now = time.time()  # noqa: TID251 - ages are for people, who read clocks
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
        click.echo(f"There are more: --after {found['next']} goes on.")
