"""`distq list`: lists waiting, running and ended tasks."""

import time
from typing import Any

import click

from distq.cli.ask import ACTION_S, seconds
from distq.cli.completion import complete_queues
from distq.cli.options import checked_id
from distq.cli.task_table import Column, print_tasks
from distq.cli.text import duration, printable
from distq.cli.watch import asking, json_option, print_json, repeat, watch_option

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
@click.option("--queue", shell_complete=complete_queues, metavar="QUEUE", help="Tasks of this queue.")
@click.option("--name", metavar="NAME", help="Tasks of this name.")
@click.option(
    "--state", "states", type=click.Choice(STATES), multiple=True, help="Tasks in this state; may be repeated."
)
@click.option("--older", metavar="DURATION", help="Tasks submitted longer ago than this, as in 10m.")
@click.option("--limit", type=click.IntRange(1, 10_000), default=100, show_default=True, help="Maximum tasks.")
@click.option(
    "--after", metavar="ID", type=checked_id, help="Continue after this task, the last one of the previous list."
)
@json_option
@watch_option
@click.pass_context
def command(
    context: click.Context,
    /,
    states: tuple[str, ...],
    older: str | None,
    as_json: bool,
    watch: str | None,
    **asked: Any,
) -> None:
    """List tasks, the oldest first: waiting and running tasks, or the tasks in the states of --state.

    A state is waiting (ready, delayed or held), running (leased), or ended (succeeded, dead, cancelled or expired).
    Of ended tasks, the master knows dead letters and tasks whose results it keeps.
    """
    older_s = None if older is None else seconds(older, "--older")

    def fetch() -> tuple[float, dict[str, Any]]:
        now = time.time()  # noqa: TID251 - the ages in the list are of this clock
        before_at = None if older_s is None else now - older_s
        return now, ask("list", {**asked, "states": list(states), "before_at": before_at})

    with asking(context, "list", ACTION_S) as ask:
        repeat(watch, fetch, lambda found: print_json(found[1], watch) if as_json else _print(*found))


def _print(now: float, found: dict[str, Any]) -> None:
    columns: dict[str, Column] = {
        "state": lambda row: row["state"],
        "for": lambda row: duration(max(now - row["since"], 0.0)),
        "age": lambda row: duration(max(now - row["submitted_at"], 0.0)),
        "attempt": lambda row: str(row["attempt"]),
        "holder": lambda row: printable(row["holder"] or "-"),
    }
    print_tasks(found["tasks"], columns, none="There is no such task.", numbers=["for", "age", "attempt"])
    if found["next"]:
        click.echo(f"There are more: continue with --after {found['next']}.")
