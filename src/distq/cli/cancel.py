"""`distq cancel`: cancels waiting tasks, and stops running ones."""

import click

from distq.cli.ask import ACTION_S, admin
from distq.cli.completion import complete_queues
from distq.cli.options import confirm, task_ids, without_question
from distq.cli.text import printable

FAILED = 1
SHOWN_MAX = 5


@click.command("cancel")
@task_ids
@click.option("--queue", shell_complete=complete_queues, metavar="QUEUE", help="Cancel the tasks of this queue.")
@click.option("--name", metavar="NAME", help="Cancel the tasks of this name.")
@click.option("--running", is_flag=True, help="Cancel running tasks too: stop them, and kill those that do not stop.")
@without_question
@click.pass_context
def command(
    context: click.Context, ids: tuple[str, ...], queue: str | None, name: str | None, running: bool, yes: bool
) -> int:
    """Cancel tasks: they do not start any more, and their clients see that they are cancelled.

    With --running, the worker raises an exception (distq.TaskStopped) in running tasks, and kills a task that continues
    for two seconds. The exit code is 1 if a task that was named continues to run or had ended.
    """
    chosen = queue is not None or name is not None
    if bool(ids) == chosen:
        raise click.UsageError("Name tasks by their ids, or choose them by --queue and --name.")
    asked = {"ids": list(ids)} if ids else {"queue": queue, "name": name, "must_exist": True}
    if chosen and not yes:
        found = admin(context, "cancel", {**asked, "dry_run": True}, ACTION_S)
        chosen_tasks = " ".join(filter(None, (queue and f"of the queue {queue}", name and f"called {name}")))
        if found["done"] or (running and found["running"]):
            confirm(f"Cancel all {'' if running else 'waiting '}tasks {printable(chosen_tasks)}?")
    answer = admin(context, "cancel", {**asked, "running": running}, ACTION_S)
    click.echo(f"{answer['done']:,} cancelled.")
    left = answer["running"]
    if left:
        named = ", ".join(left[:SHOWN_MAX]) + (" and more" if len(left) > SHOWN_MAX else "")
        click.echo(f"{len(left):,} continue to run: {named}. --running stops them too.", err=True)
    if answer["over"] and ids:
        click.echo(f"{answer['over']:,} had ended or are unknown.", err=True)
    return FAILED if ids and (left or answer["over"]) else 0
