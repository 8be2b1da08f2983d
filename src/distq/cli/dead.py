"""`distq dead`: lists, shows, retries and purges dead letters."""

import json
from collections.abc import Callable
from datetime import datetime
from typing import Any, Final

import click

from distq.cli.ask import ACTION_S, admin
from distq.cli.completion import complete_queues
from distq.cli.groups import group
from distq.cli.options import checked_id, confirm, json_object, only_count, task_id, task_ids, without_question
from distq.cli.task_table import Column, print_tasks
from distq.cli.text import printable, printable_lines
from distq.cli.watch import asking, json_option, print_json, repeat, watch_option
from distq.core.errors import DistqError
from distq.core.plurals import counted
from distq.settings.kinds import DURATION

Asked = dict[str, Any]


class NotDead(DistqError):
    """Some of the named tasks are no dead letters."""

    code = "NOT_DEAD"
    hint = "`distq dead list` shows all dead letters."


class KeyTaken(DistqError):
    """Other tasks have the unique keys of some dead letters."""

    code = "KEY_TAKEN"
    hint = "Retry the dead letters when these tasks have ended, or purge them if they do the same work."


TAKEN_SHOWN: Final = 10
"""Maximum dead letters that an error names; it counts the others."""


@group("dead")
def command() -> None:
    """Show, retry or purge dead letters: tasks that failed and are not retried."""


def filters(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that choose dead letters to a command."""
    for option in (
        click.option("--until", metavar="WHEN", help="Dead letters from before: 2h (ago), or 2026-01-31T09:00."),
        click.option("--since", metavar="WHEN", help="Dead letters since: 2h (ago), or 2026-01-31T09:00."),
        click.option(
            "--error", metavar="CLASS", help="Dead letters whose last error has this class; also lost or timeout."
        ),
        click.option("--name", metavar="NAME", help="Dead letters of this task name."),
        click.option("--queue", shell_complete=complete_queues, metavar="QUEUE", help="Dead letters of this queue."),
    ):
        command = option(command)
    return command


@command.command("list")
@filters
@click.option("--limit", type=click.IntRange(1, 10_000), default=100, show_default=True, help="Maximum dead letters.")
@click.option(
    "--after", metavar="ID", type=checked_id, help="Continue after this dead letter, the last one of the previous list."
)
@json_option
@watch_option
@click.pass_context
def list_(
    context: click.Context,
    /,
    limit: int,
    after: str | None,
    as_json: bool,
    watch: str | None,
    **chosen: str | None,
) -> None:
    """List dead letters, the newest first."""
    asked = _choice(chosen)  # here, so that a wrong option is an error even without a master
    with asking(context, "dead_list") as ask:
        repeat(
            watch,
            lambda: ask("dead_list", {**asked, "limit": limit, "after": after}),
            lambda found: print_json(found, watch) if as_json else _print_list(found, chosen),
        )


def _print_list(found: dict[str, Any], chosen: dict[str, str | None]) -> None:
    columns: dict[str, Column] = {
        "died": lambda row: _instant_text(row["died_at"]),
        "failures": lambda row: str(row["failures"]),
        "lost": lambda row: str(row["lost"]),
        "cause": lambda row: printable(row["causes"][-1] if row["causes"] else "-"),
    }
    none = "There are no such dead letters." if any(chosen.values()) else "There are no dead letters."
    print_tasks(found["tasks"], columns, none=none, numbers=["failures", "lost"])
    if found.get("next"):  # a master of the previous release sends none
        click.echo(f"There are more, {found['total']:,} in all: continue with --after {found['next']}.")


@command.command("show")
@task_id
@json_object
@click.pass_context
def show(context: click.Context, task_id: str, as_json: bool) -> None:
    """Show a dead letter: its arguments, its traceback, its attempts and their causes.

    No code of the task runs: classes and functions in its arguments are shown by their names.
    """
    from distq.tasks.payload_text import describe, failure_of

    row = admin(context, "dead_show", {"id": task_id})
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
        ("submitted", _instant_text(row["submitted_at"])),
        ("died", _instant_text(row["died_at"])),
        ("attempts", f"{row['failures']} failed, {row['lost']} lost"),
        ("error", ": ".join(filter(None, (row["error"], row["error_text"]))) or "-"),
    ):
        click.echo(f"{label:10} {printable(text)}")
    for number, cause in enumerate(row["causes"]):
        click.echo(f"{'' if number else 'causes':10} {number + 1}. {printable(cause)}")
    if row["traceback"]:
        click.echo("\n" + printable_lines(row["traceback"]))


@command.command("retry")
@task_ids
@click.option("--all", "every", is_flag=True, help="All dead letters, or all that the other options choose.")
@filters
@only_count
@click.pass_context
def retry(context: click.Context, /, ids: tuple[str, ...], every: bool, dry_run: bool, **chosen: str | None) -> None:
    """Retry dead letters, with all their attempts."""
    asked = _chosen(ids, every, chosen)
    if dry_run:
        _count(context, "dead_retry", asked)
        return
    done = _act(context, "dead_retry", asked)
    click.echo(f"{done:,} will be retried.")


@command.command("purge")
@task_ids
@click.option("--all", "every", is_flag=True, help="All dead letters, or all that the other options choose.")
@filters
@without_question
@only_count
@click.pass_context
def purge(
    context: click.Context, /, ids: tuple[str, ...], every: bool, yes: bool, dry_run: bool, **chosen: str | None
) -> None:
    """Delete dead letters."""
    asked = _chosen(ids, every, chosen)
    if dry_run:
        _count(context, "dead_purge", asked)
        return
    if not yes:
        count = _count_chosen(context, asked)
        if count:
            confirm(f"Delete {counted(count, 'dead letter')}?")
    click.echo(f"{_act(context, 'dead_purge', asked):,} deleted.")


def _count_chosen(context: click.Context, asked: Asked) -> int:
    """Return how many dead letters a purge would delete; raises NotDead if none of the named tasks is one."""
    if "ids" not in asked:
        return int(admin(context, "dead_list", {**asked, "limit": 1}, ACTION_S)["total"])
    answer = admin(context, "dead_purge", {**asked, "dry_run": True}, ACTION_S)
    if not answer["done"]:
        raise NotDead(_not_dead(answer))
    return int(answer["done"])


def _choice(chosen: dict[str, str | None]) -> Asked:
    """Return the options that choose dead letters, with instants as seconds since 1970."""
    since, until = chosen["since"], chosen["until"]
    since_at = None if since is None else _when(since, "since")
    until_at = None if until is None else _when(until, "until")
    if since_at is not None and until_at is not None and since_at >= until_at:
        raise click.BadParameter(
            f"The span is empty: {since!r} is not before --until {until!r}. A duration is that long ago.",
            param_hint="--since",
        )
    return {**chosen, "since": since_at, "until": until_at}


def _when(text: str, option: str) -> float:
    """Return the instant of a text: a duration ago, or a date and time, in the local zone if it has none."""
    try:
        return datetime.now().timestamp() - float(str(DURATION.parse(text)))  # noqa: DTZ005 - only its number is used
    except ValueError:
        pass
    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError:
        raise click.BadParameter(
            f"{text!r} is neither a duration ago (2h, 30m, 1d) nor a date and time (2026-01-31T09:00).",
            param_hint=f"--{option}",
        ) from None


def _chosen(ids: tuple[str, ...], every: bool, chosen: dict[str, str | None]) -> Asked:
    options = "--all, --queue, --name, --error, --since, --until"
    if ids and (every or any(chosen.values())):
        raise click.UsageError(f"Name dead letters by their ids, or choose them by {options}; not both.")
    if not ids and not every and not any(chosen.values()):
        raise click.UsageError(f"Name dead letters by their ids, or choose them by {options}.")
    return {"ids": list(ids)} if ids else _choice(chosen)


def _count(context: click.Context, what: str, asked: Asked) -> None:
    """Print the number of the chosen dead letters, by queue, name and error."""
    if "ids" in asked:
        raise click.UsageError("--dry-run counts dead letters that options choose; it does not work with ids.")
    answer = admin(context, what, {**asked, "dry_run": True}, ACTION_S)
    for queue, name, error, count in answer["counts"]:
        click.echo(f"{count:>10,}  {printable(queue)}  {printable(name)}  {printable(error) or '-'}")
    click.echo(f"{counted(answer['done'], 'dead letter')} in total; nothing was changed.")


def _act(context: click.Context, what: str, asked: Asked) -> int:
    answer = admin(context, what, asked, ACTION_S)
    if answer["unknown"]:
        raise NotDead(_not_dead(answer))
    if taken := answer.get("taken"):
        those = ", ".join(f"{mine} (by {other})" for mine, other in taken[:TAKEN_SHOWN])
        more = f", and {len(taken) - TAKEN_SHOWN:,} more" if len(taken) > TAKEN_SHOWN else ""
        raise KeyTaken(f"{answer['done']:,} will be retried. Another task has the unique key of: {those}{more}.")
    return int(answer["done"])


def _not_dead(answer: dict[str, Any]) -> str:
    return f"{answer['done']} done; these ids are no dead letters: {', '.join(map(printable, answer['unknown']))}."


def _instant_text(at: float) -> str:
    return datetime.fromtimestamp(at).astimezone().strftime("%Y-%m-%d %H:%M:%S")
