"""`distq cancel`: tasks that shall not be begun, or shall stop."""

import click

from distq.cli.ask import ACTION_S, admin
from distq.cli.text import printable

FAILED = 1
SHOWN_MAX = 5


@click.command("cancel")
@click.argument("ids", metavar="[ID ...]", nargs=-1)
@click.option("--queue", metavar="QUEUE", help="All of this queue.")
@click.option("--name", metavar="NAME", help="All of this task name.")
@click.option("--running", is_flag=True, help="Also those that run: they are stopped, gently first.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.pass_context
def command(
    context: click.Context, ids: tuple[str, ...], queue: str | None, name: str | None, running: bool, yes: bool
) -> int:
    """Cancel tasks: none of them is begun any more, and their clients are told.

    With --running an exception (distq.TaskStopped) is raised in those that run; one that goes on for two seconds
    is killed. The exit code is 1 if a task that was named runs on or had ended.
    """
    chosen = queue is not None or name is not None
    if bool(ids) == chosen:
        raise click.UsageError("Name tasks by their ids, or choose them by --queue and --name.")
    if chosen and not yes:
        whose = " ".join(filter(None, (queue and f"of the queue {queue}", name and f"called {name}")))
        click.confirm(f"Cancel all tasks {printable(whose)}{'' if running else ' that wait'}?", abort=True)
    asked = {"ids": list(ids)} if ids else {"queue": queue, "name": name, "must_exist": True}
    told = admin(context, "cancel", {**asked, "running": running}, ACTION_S)
    click.echo(f"{told['done']:,} cancelled.")
    left = told["running"]
    if left:
        named = ", ".join(left[:SHOWN_MAX]) + (" and more" if len(left) > SHOWN_MAX else "")
        click.echo(f"{len(left):,} run on: {named}. With --running they are stopped too.", err=True)
    if told["over"] and ids:
        click.echo(f"{told['over']:,} had ended, or are not known.", err=True)
    return FAILED if ids and (left or told["over"]) else 0
