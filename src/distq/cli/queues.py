"""`distq pause`, `resume`, `purge` and `queue`: control queues."""

from typing import Any

import click

from distq.cli.ask import ACTION_S, admin
from distq.cli.completion import complete_queues
from distq.cli.groups import group
from distq.cli.options import QueueByOption, confirm, without_question
from distq.cli.text import printable
from distq.core.plurals import counted
from distq.core.policy import BadPolicy, Rate

of_queue = click.option("--queue", shell_complete=complete_queues, metavar="QUEUE", help="The queue.")
create = click.option("--create", is_flag=True, help="Create the queue if it does not exist.")
of_name = click.option("--name", metavar="NAME", help="Only tasks of this name.")


@click.command("pause", cls=QueueByOption)
@of_queue
@of_name
@create
@click.pass_context
def pause(context: click.Context, queue: str | None, name: str | None, create: bool) -> None:
    """Pause a queue, or the tasks of a name: no more of them start; running tasks continue.

    The queue accepts submits as before. The pause survives restarts of the master, until `distq resume`. With --name
    alone, tasks of that name are paused in every queue that has had any.
    """
    _set_policy(context, "pause", queue=queue, name=name, must_exist=not create)


@click.command("resume", cls=QueueByOption)
@of_queue
@of_name
@click.pass_context
def resume(context: click.Context, queue: str | None, name: str | None) -> None:
    """Resume a paused queue or name; with --queue alone, also the names that are paused in it."""
    _set_policy(context, "resume", queue=queue, name=name, must_exist=True)


@click.command("purge", cls=QueueByOption)
@of_queue
@of_name
@without_question
@click.pass_context
def purge(context: click.Context, queue: str | None, name: str | None, yes: bool) -> None:
    """Cancel the waiting tasks of a queue or of a name; running tasks continue, dead letters stay."""
    _need_one(queue, name)
    cause = "purged by an operator"
    asked = {"queue": queue, "name": name, "running": False, "cause": cause, "must_exist": True}
    count = admin(context, "cancel", {**asked, "dry_run": True}, ACTION_S)["done"]
    if not yes and count:
        confirm(f"Cancel {counted(count, 'waiting task')}?")
    done = admin(context, "cancel", asked, ACTION_S)["done"] if count else 0
    click.echo(f"{done:,} cancelled.")


def _rate(_context: click.Context, _option: click.Parameter, text: str | None) -> str | None:
    """Check the rate here: a wrong one is an error of usage, with exit code 2."""
    try:
        return None if text is None else str(Rate.parse(text))
    except BadPolicy as error:
        raise click.BadParameter(f"{str(error).rstrip('.')}. {error.hint}") from None


@group("queue")
def command() -> None:
    """Set the limits of a queue: concurrency, rate and capacity."""


@command.command("set")
@click.argument("queue", shell_complete=complete_queues)
@click.option(
    "--running", metavar="N", type=click.IntRange(1), help="Concurrency limit: at most N tasks run at the same time."
)
@click.option(
    "--rate",
    metavar="RATE",
    callback=_rate,
    help="Rate limit: at most N tasks start in a time, as in 100/m, 5/s, 10/30s.",
)
@click.option(
    "--capacity",
    metavar="N",
    type=click.IntRange(1),
    help="Maximum tasks in the queue; the master refuses further submits.",
)
@create
@click.pass_context
def set_(
    context: click.Context, queue: str, running: int | None, rate: str | None, capacity: int | None, create: bool
) -> None:
    """Set limits of a queue; the others stay. They survive restarts and take precedence over the settings."""
    limits = {"running": running, "rate": rate, "capacity": capacity}
    if not any(limits.values()):
        raise click.UsageError("Give --running, --rate, --capacity, or several of them.")
    _set_policy(context, "queue_set", queue=queue, must_exist=not create, **limits)


@command.command("reset")
@click.argument("queue", shell_complete=complete_queues)
@click.pass_context
def reset(context: click.Context, queue: str) -> None:
    """Remove the limits and pauses that were set for a queue: the settings apply again."""
    _set_policy(context, "queue_reset", queue=queue, must_exist=True)


def _need_one(queue: str | None, name: str | None) -> None:
    if queue is None and name is None:
        raise click.UsageError("Give --queue, --name, or both.")


def _set_policy(context: click.Context, action: str, **asked: Any) -> None:
    _need_one(asked["queue"], asked.get("name"))
    for queue in admin(context, action, asked)["queues"]:
        click.echo(f"{printable(queue['queue'])}: {_sentence(queue)}")


def _sentence(policy: dict[str, Any]) -> str:
    """Describe the policy of a queue."""
    names = ", ".join(map(printable, policy["paused_names"]))
    parts = [
        "paused" if policy["paused"] else "active",
        f"paused names: {names}" if names else "",
        f"concurrency limit {policy['running']:,}" if policy["running"] else "",
        f"rate limit {policy['rate']}" if policy["rate"] else "",
        f"capacity {policy['capacity']:,}",
    ]
    return ", ".join(filter(None, parts)) + "."
