"""`distq worker`: run what the queues hold."""

import click

from distq.cli.environment import settings_of_service
from distq.settings import Role


@click.command("worker")
@click.argument("modules", metavar="[MODULE ...]", nargs=-1)
@click.option("--plain-handler", metavar="MODULE:FUNCTION", help="Run plain items with this function.")
@click.option("--concurrency", metavar="N", help="How many executors to run; auto is one for each CPU.")
@click.option("--executor", metavar="KIND", help="What each runs: process one task, thread several at once.")
@click.option("--executor-tasks", metavar="N", help="How many tasks an executor of the kind thread runs at once.")
@click.option("--queues", metavar="NAMES", help="The queues to serve, separated by commas; all by default.")
@click.option("--pool", metavar="NAME", help="The pool that this worker belongs to.")
@click.option("--max-tasks", metavar="N", help="Replace an executor by a fresh one after so many tasks.")
@click.option("--max-rss", metavar="SIZE", help="Replace an executor that has more memory after a task, as in 500MB.")
@click.option("--labels", metavar="NAMES", help="What this worker has that some tasks require, as in gpu,eu.")
@click.pass_context
def command(context: click.Context, /, modules: tuple[str, ...], **given: str | None) -> int:
    """Connect to the master at DISTQ_ADDRESS and run tasks, until SIGTERM, SIGHUP or Ctrl-C.

    The executors import the MODULEs when they start; each task that these register is run, and each function
    that is submitted by its import path.
    """
    options = {f"DISTQ_{name.upper()}": text for name, text in given.items()}
    settings = settings_of_service(context, Role.WORKER, {"DISTQ_TASKS": ",".join(modules) or None, **options})
    if settings.accept == "json" and settings.plain_handler is not None:
        raise click.UsageError(
            "Plain items are pickles, and DISTQ_ACCEPT=json takes none. Leave out one of it and the plain handler."
        )
    if settings.accept == "json" and not settings.tasks:
        raise click.UsageError(
            "This worker has nothing to run: with DISTQ_ACCEPT=json it needs modules with tasks. "
            "Name them as arguments, or in DISTQ_TASKS."
        )
    from distq.worker.main import run

    return run(settings)
