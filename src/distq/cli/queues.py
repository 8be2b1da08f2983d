"""`distq pause`, `resume`, `purge` and `queue`: what an operator does with queues."""

from typing import Any

import click

from distq.cli.ask import ACTION_S, admin
from distq.cli.groups import group
from distq.cli.text import printable
from distq.core.policy import BadPolicy, Rate

of_queue = click.option("--queue", metavar="QUEUE", help="Of this queue.")
create = click.option("--create", is_flag=True, help="Make the queue if there is none of this name yet.")
of_name = click.option("--name", metavar="NAME", help="Only tasks of this name.")


@click.command("pause")
@of_queue
@of_name
@create
@click.pass_context
def pause(context: click.Context, queue: str | None, name: str | None, create: bool) -> None:
    """Have nothing given out any more, of a queue or only of tasks of a name; what runs runs on.

    Submits are taken as before. It holds over restarts of the master, until `distq resume`. With --name alone
    every queue that has had tasks of that name is paused for them.
    """
    _govern(context, "pause", queue=queue, name=name, must_exist=not create)


@click.command("resume")
@of_queue
@of_name
@click.pass_context
def resume(context: click.Context, queue: str | None, name: str | None) -> None:
    """Have what was paused given out again; with --queue alone, also names that were paused on it."""
    _govern(context, "resume", queue=queue, name=name, must_exist=True)


@click.command("purge")
@of_queue
@of_name
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.pass_context
def purge(context: click.Context, queue: str | None, name: str | None, yes: bool) -> None:
    """Cancel all that waits, of a queue or of tasks of a name; what runs runs on, dead letters stay."""
    _need_one(queue, name)
    cause = "purged by an operator"
    asked = {"queue": queue, "name": name, "running": False, "cause": cause, "must_exist": True}
    count = admin(context, "cancel", {**asked, "dry_run": True}, ACTION_S)["done"]
    if not yes and count:
        click.confirm(f"Cancel {count:,} waiting tasks?", abort=True)
    done = admin(context, "cancel", asked, ACTION_S)["done"] if count else 0
    click.echo(f"{done:,} cancelled.")


def _rate(_context: click.Context, _option: click.Parameter, text: str | None) -> str | None:
    """See here already that a rate is one: the exit code of usage is 2."""
    try:
        return None if text is None else str(Rate.parse(text))
    except BadPolicy as error:
        raise click.BadParameter(f"{str(error).rstrip('.')}. {error.hint}") from None


@group("queue")
def command() -> None:
    """Limit what a queue gives out, and how much it takes."""


@command.command("set")
@click.argument("queue")
@click.option("--running", metavar="N", type=click.IntRange(1), help="At most so many tasks run at once.")
@click.option(
    "--rate",
    metavar="RATE",
    callback=_rate,
    help="At most N tasks are given out in a time: 100/m, 5/s, 10/30s.",
)
@click.option("--capacity", metavar="N", type=click.IntRange(1), help="It takes so many tasks; more are refused.")
@create
@click.pass_context
def set_(
    context: click.Context, queue: str, running: int | None, rate: str | None, capacity: int | None, create: bool
) -> None:
    """Set limits of a queue; those that are not named stay. They hold over restarts and go before the settings."""
    limits = {"running": running, "rate": rate, "capacity": capacity}
    if not any(limits.values()):
        raise click.UsageError("Give --running, --rate, --capacity, or several of them.")
    _govern(context, "queue_set", queue=queue, must_exist=not create, **limits)


@command.command("reset")
@click.argument("queue")
@click.pass_context
def reset(context: click.Context, queue: str) -> None:
    """Forget all that was set of a queue or paused on it: the settings alone hold again."""
    _govern(context, "queue_reset", queue=queue, must_exist=True)


def _need_one(queue: str | None, name: str | None) -> None:
    if queue is None and name is None:
        raise click.UsageError("Say which by --queue, --name, or both.")


def _govern(context: click.Context, action: str, **asked: Any) -> None:
    _need_one(asked["queue"], asked.get("name"))
    for queue in admin(context, action, asked)["queues"]:
        click.echo(f"{printable(queue['queue'])}: {_sentence(queue)}")


def _sentence(policy: dict[str, Any]) -> str:
    """How a queue stands."""
    names = ", ".join(map(printable, policy["paused_names"]))
    words = [
        "paused" if policy["paused"] else "gives out tasks",
        f"none called {names}" if names else "",
        f"at most {policy['running']:,} at once" if policy["running"] else "",
        f"at most {policy['rate']}" if policy["rate"] else "",
        f"takes {policy['capacity']:,}",
    ]
    return ", ".join(filter(None, words)) + "."
