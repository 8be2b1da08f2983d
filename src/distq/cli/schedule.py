"""`distq schedule`: lists, adds, pauses, runs and removes schedules."""

from datetime import datetime
from typing import Any

import click

from distq.cli.ask import admin, seconds
from distq.cli.groups import group
from distq.cli.options import TakesJson, arguments_of_task, in_options, queue_of_task
from distq.cli.text import duration, printable
from distq.cli.watch import asking, json_option, print_json, repeat, watch_option


@group("schedule")
def command() -> None:
    """List, add, pause, run or remove schedules, by which the master submits tasks repeatedly."""


@command.command("list")
@json_option
@watch_option
@click.pass_context
def list_(context: click.Context, as_json: bool, watch: str | None) -> None:
    """List schedules, the next scheduled run first."""
    with asking(context, "schedule_list") as ask:
        repeat(
            watch,
            lambda: ask("schedule_list", {})["schedules"],
            lambda schedules: print_json(schedules, watch) if as_json else _print_list(schedules),
        )


def _print_list(schedules: list[dict[str, Any]]) -> None:
    if not schedules:
        click.echo("There is no schedule. `client.schedule(...)` or `distq schedule add` makes one.")
        return
    from distq.cli.tables import print_table

    schedules.sort(key=lambda one: (one["next_at"] is None, one["next_at"], one["name"]))
    print_table(
        ["schedule", "by", "task", "queue", "when", "next", "last", "runs", "skipped"],
        [
            [
                printable(one["name"]),
                one.get("origin", "client"),
                printable(one["task"]),
                printable(one["queue"]),
                _when(one),
                _next(one),
                "-"
                if one["last_at"] is None
                else _local_time(one["last_at"]) + (" (runs)" if one["under_way"] else ""),
                f"{one['runs']:,}",
                f"{one['skipped']:,}",
            ]
            for one in schedules
        ],
        numbers=["runs", "skipped"],
    )
    for one in schedules:
        if one.get("fault"):
            click.echo(f"{printable(one['name'])} submits nothing: {printable(one['fault'])}")


@command.command("add", cls=TakesJson)
@click.argument("name")
@click.argument("task", metavar="MODULE:FUNCTION")
@arguments_of_task
@click.option("--every", metavar="DURATION", help="Interval between two scheduled runs, as in 30s or 1h.")
@click.option("--cron", metavar="LINE", help="Cron line of five fields, as in '*/5 * * * *'.")
@click.option("--timezone", metavar="ZONE", help="Time zone of the cron line, as in Europe/Rome; default UTC.")
@queue_of_task
@click.option("--overlap", is_flag=True, help="Submit also if the previous task has not ended.")
@click.option(
    "--catch-up", type=click.Choice(["one", "all", "none"]), help="Which missed scheduled runs to make up for."
)
@click.pass_context
def add(
    context: click.Context,
    name: str,
    task: str,
    texts: tuple[str, ...],
    every: str | None,
    cron: str | None,
    timezone: str | None,
    queue: str,
    overlap: bool,
    catch_up: str | None,
) -> None:
    """Add a schedule, which submits a task repeatedly; replaces a schedule of the same name."""
    if (every is None) == (cron is None):
        raise click.UsageError(f"Give one of --every and --cron, not {'neither' if cron is None else 'both'}.")
    from distq.cli.environment import settings_of_command
    from distq.cli.submit import argument, note_colon
    from distq.client.client import Client
    from distq.core.schedule import BadSchedule
    from distq.settings import Role
    from distq.wire.errors import RemoteRefusal

    options: dict[str, Any] = {"cron": cron, "timezone": timezone, "overlap": overlap, "catch_up": catch_up}
    if every is not None:
        seconds(every, "--every")
        options["every"] = every  # the text, which an error of its range shows
    try:
        with Client(settings=settings_of_command(context, Role.CLIENT)) as client:
            made = client.options(queue=queue, **options).schedule_named(name, task, [argument(text) for text in texts])
    except (RemoteRefusal, BadSchedule) as error:
        raise type(error)(in_options(error, context)) from error
    except (TypeError, ValueError) as error:
        raise click.UsageError(in_options(error, context)) from error
    note_colon(task)
    click.echo(f"{printable(made.name)}: next at {_local_time(made.next_at or 0.0)}.")


def _act(action: str, sentence: str, doc: str) -> click.Command:
    @click.argument("name")
    @click.pass_context
    def act(context: click.Context, name: str) -> None:
        changed = admin(context, f"schedule_{action}", {"name": name})["schedules"]
        last = changed[0]["last_id"] if changed else ""
        click.echo(sentence.format(name=printable(name), last=last))

    return click.command(action, help=doc)(act)


for made in (
    _act("pause", "{name} is paused.", "Pause a schedule until it is resumed; running tasks continue."),
    _act(
        "resume",
        "{name} is resumed.",
        "Resume a schedule with its next scheduled run; missed ones are not made up for.",
    ),
    _act("run", "{last}", "Submit the task of a schedule now, and print its id."),
    _act("remove", "{name} is removed.", "Remove a schedule; tasks that it has submitted continue."),
):
    command.add_command(made)


def _next(schedule: dict[str, Any]) -> str:
    if schedule.get("fault"):
        return "faulty"
    return "paused" if schedule["paused"] else _local_time(schedule["next_at"])


def _when(schedule: dict[str, Any]) -> str:
    if schedule["cron"] is None:
        return f"every {duration(schedule['every_s'])}"
    return f"{printable(schedule['cron'])} {printable(schedule['timezone'])}"


def _local_time(at: float) -> str:
    return datetime.fromtimestamp(at).astimezone().strftime("%Y-%m-%d %H:%M:%S")
