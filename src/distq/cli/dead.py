"""`distq dead`: the tasks that will not be tried again, and what becomes of them."""

import json
from collections.abc import Callable
from datetime import datetime
from typing import Any

import click

from distq.cli.ask import ACTION_S, admin
from distq.cli.text import printable, printable_lines
from distq.core.errors import DistqError

Asked = dict[str, Any]


class NotDead(DistqError):
    """Some of the named tasks are no dead letters."""

    code = "NOT_DEAD"
    hint = "`distq dead list` shows those that are."


@click.group("dead", context_settings={"help_option_names": ["-h", "--help"]})
def command() -> None:
    """Tasks that failed for good: see why, have them tried again, or let them go."""


def filters(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options that choose dead letters."""
    for option in (
        click.option("--name", metavar="NAME", help="Those of this task name."),
        click.option("--queue", metavar="QUEUE", help="Those of this queue."),
    ):
        command = option(command)
    return command


@command.command("list")
@filters
@click.option("--limit", type=click.IntRange(1, 10_000), default=100, show_default=True, help="So many at most.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object instead of a table.")
@click.pass_context
def list_(context: click.Context, queue: str | None, name: str | None, limit: int, as_json: bool) -> None:
    """List dead letters, the newest first."""
    found = admin(context, "dead_list", {"queue": queue, "name": name, "limit": limit})
    if as_json:
        click.echo(json.dumps(found, indent=2))
        return
    if not found["tasks"]:
        click.echo("There are no dead letters.")
        return
    from distq.cli.tables import print_table

    print_table(
        ["task", "queue", "name", "died", "failures", "lost", "cause"],
        [
            [
                printable(row["id"]),
                printable(row["queue"]),
                printable(row["name"]),
                _moment(row["died_at"]),
                str(row["failures"]),
                str(row["lost"]),
                printable(row["causes"][-1] if row["causes"] else "-"),
            ]
            for row in found["tasks"]
        ],
        numbers=["failures", "lost"],
    )
    more = found["total"] - len(found["tasks"])
    if more:
        click.echo(f"and {more:,} more")


@command.command("show")
@click.argument("ident", metavar="ID")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object.")
@click.pass_context
def show(context: click.Context, ident: str, as_json: bool) -> None:
    """Show a dead letter: its arguments, its traceback, its attempts and their causes.

    Nothing of it is run: classes and functions in its arguments are shown by their names.
    """
    from distq.cli.payloads import describe, failure_of

    row = admin(context, "dead_show", {"id": ident})
    payload, error = row.pop("payload"), row.pop("error")
    row["call"] = describe(payload, row["name"], plain=row["kind"] == "plain")
    row["payload_bytes"] = len(payload)
    row["error"], row["error_text"], row["traceback"] = failure_of(error)
    if as_json:
        click.echo(json.dumps(row, indent=2))
        return
    for label, text in (
        ("task", row["id"]),
        ("queue", row["queue"]),
        ("name", row["name"]),
        ("call", row["call"]),
        ("submitted", _moment(row["submitted_at"])),
        ("died", _moment(row["died_at"])),
        ("attempts", f"{row['failures']} failed, {row['lost']} lost"),
        ("error", ": ".join(filter(None, (row["error"], row["error_text"]))) or "-"),
    ):
        click.echo(f"{label:10} {printable(text)}")
    for number, cause in enumerate(row["causes"]):
        click.echo(f"{'' if number else 'causes':10} {number + 1}. {printable(cause)}")
    if row["traceback"]:
        click.echo("\n" + printable_lines(row["traceback"]))


@command.command("retry")
@click.argument("ids", metavar="[ID ...]", nargs=-1)
@click.option("--all", "every", is_flag=True, help="All, or all of --queue and --name.")
@filters
@click.pass_context
def retry(context: click.Context, ids: tuple[str, ...], every: bool, queue: str | None, name: str | None) -> None:
    """Have dead letters tried again, with all their attempts."""
    asked = _chosen(ids, every, queue, name)
    done = _act(context, "dead_retry", asked)
    click.echo(f"{done:,} will be tried again.")


@command.command("purge")
@click.argument("ids", metavar="[ID ...]", nargs=-1)
@click.option("--all", "every", is_flag=True, help="All, or all of --queue and --name.")
@filters
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.pass_context
def purge(
    context: click.Context, ids: tuple[str, ...], every: bool, queue: str | None, name: str | None, yes: bool
) -> None:
    """Let dead letters go for good."""
    asked = _chosen(ids, every, queue, name)
    if not yes:
        count = len(set(ids)) if ids else admin(context, "dead_list", {**asked, "limit": 1})["total"]
        click.confirm(f"Let {count:,} dead letters go for good?", abort=True)
    click.echo(f"{_act(context, 'dead_purge', asked):,} are gone.")


def _chosen(ids: tuple[str, ...], every: bool, queue: str | None, name: str | None) -> Asked:
    chosen = queue is not None or name is not None
    if ids and (every or chosen):
        raise click.UsageError("Name dead letters by their ids, or choose them by --all, --queue, --name; not both.")
    if not ids and not every and not chosen:
        raise click.UsageError("Name dead letters by their ids, or choose them by --all, --queue, --name.")
    return {"ids": list(ids)} if ids else {"queue": queue, "name": name}


def _act(context: click.Context, what: str, asked: Asked) -> int:
    answer = admin(context, what, asked, ACTION_S)
    if answer["unknown"]:
        those = ", ".join(map(printable, answer["unknown"]))
        raise NotDead(f"{answer['done']} done; these are no dead letters: {those}.")
    return int(answer["done"])


def _moment(at: float) -> str:
    return datetime.fromtimestamp(at).astimezone().strftime("%Y-%m-%d %H:%M:%S")
