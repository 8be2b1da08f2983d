"""`distq result`: prints the result of a task."""

import click

from distq.cli.ask import seconds
from distq.cli.options import json_object, task_id

UNKNOWN = 1


@click.command("result")
@task_id
@click.option("--timeout", metavar="DURATION", help="Maximum wait for the end of the task; unlimited by default.")
@json_object
@click.option("--unpickle", is_flag=True, help="Unpickle the result here, which runs code that the worker chose.")
@click.pass_context
def command(context: click.Context, task_id: str, timeout: str | None, as_json: bool, unpickle: bool) -> int:
    """Wait for the end of a task, and print its result as JSON.

    An object is shown by the name of its class: no code of it runs here without --unpickle. The exit code is 1 if the
    task failed, did not end in time, or is unknown.
    """
    timeout_s = None if timeout is None else seconds(timeout, "--timeout")
    from distq.cli.environment import settings_of_command
    from distq.cli.submit import print_outcome
    from distq.client.client import Client
    from distq.settings import Role

    with Client(settings=settings_of_command(context, Role.CLIENT)) as client:
        future = client.future(task_id)
        try:
            return print_outcome(future, timeout_s, as_json, unpickle=unpickle)
        finally:
            client.abandon()
