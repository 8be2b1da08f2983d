"""`distq worker`: run what the queues hold."""

import click

from distq.cli.environment import settings_of_service
from distq.settings import Role


@click.command("worker")
@click.option("--plain-handler", metavar="MODULE:FUNCTION", help="Run plain items with this function.")
@click.option("--concurrency", metavar="N", help="How many executors to run; auto is one for each CPU.")
@click.option("--pool", metavar="NAME", help="The pool that this worker belongs to.")
@click.pass_context
def command(context: click.Context, plain_handler: str | None, concurrency: str | None, pool: str | None) -> int:
    """Connect to the master at DISTQ_ADDRESS and run tasks, until SIGTERM or Ctrl-C."""
    options = {"DISTQ_PLAIN_HANDLER": plain_handler, "DISTQ_CONCURRENCY": concurrency, "DISTQ_POOL": pool}
    settings = settings_of_service(context, Role.WORKER, options)
    if settings.plain_handler is None:
        raise click.UsageError(
            "This worker has nothing to run. Name a function with --plain-handler module:function, "
            "or in DISTQ_PLAIN_HANDLER."
        )
    from distq.worker.main import run

    return run(settings)
