"""`distq worker`: runs a worker."""

import click

from distq.cli.environment import settings_of_service
from distq.settings import Role


@click.command("worker")
@click.argument("modules", metavar="[MODULE ...]", nargs=-1)
@click.option("--plain-handler", metavar="MODULE:FUNCTION", help="Run plain items with this function.")
@click.option("--concurrency", metavar="N", help="Number of executors; auto is one for each CPU.")
@click.option("--executor", metavar="KIND", help="Kind of executor: process runs one task at a time, thread several.")
@click.option("--executor-tasks", metavar="N", help="Slots of an executor of kind thread.")
@click.option("--queues", metavar="NAMES", help="Queues to serve, separated by commas; all by default.")
@click.option("--pool", metavar="NAME", help="Pool that this worker belongs to.")
@click.option("--max-tasks", metavar="N", help="Replace an executor after N tasks.")
@click.option(
    "--max-rss", metavar="SIZE", help="Replace an executor that has more memory than this after a task, as in 500MB."
)
@click.option("--labels", metavar="NAMES", help="Labels that tasks can require of a worker, as in gpu,eu.")
@click.pass_context
def command(context: click.Context, /, modules: tuple[str, ...], **given: str | None) -> int:
    """Connect to the master at DISTQ_ADDRESS and run tasks, until SIGTERM, SIGHUP or Ctrl-C.

    The executors import the MODULEs at start. The worker runs the tasks of these modules, and functions that are
    submitted by their import path.
    """
    options = {f"DISTQ_{name.upper()}": text for name, text in given.items()}
    settings = settings_of_service(context, Role.WORKER, {"DISTQ_TASKS": ",".join(modules) or None, **options})
    if settings.accept == "json" and settings.plain_handler is not None:
        raise click.UsageError(
            "Plain items are pickles, which DISTQ_ACCEPT=json does not admit. Remove that setting or the plain handler."
        )
    if settings.accept == "json" and not settings.tasks:
        raise click.UsageError(
            "With DISTQ_ACCEPT=json a worker runs only tasks of its own modules, and it has none. "
            "Name them as arguments, or in DISTQ_TASKS."
        )
    from distq.worker.main import run

    return run(settings)
