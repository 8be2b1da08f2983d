"""`distq result`: a task's result, from anywhere."""

import click

from distq.cli.ask import seconds

UNKNOWN = 1


@click.command("result")
@click.argument("task_id", metavar="ID")
@click.option("--timeout", metavar="DURATION", help="Wait for its end for so long at most; for ever by default.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object.")
@click.option("--unpickle", is_flag=True, help="Run what the result's pickle says here: it is its worker's program.")
@click.pass_context
def command(context: click.Context, task_id: str, timeout: str | None, as_json: bool, unpickle: bool) -> int:
    """Print a task's result as JSON, waiting for its end.

    What is no plain value is shown by the name of its class: nothing of its code is run here without --unpickle.
    The exit code is 1 if the task failed, has not ended in time, or is not known (any more).
    """
    timeout_s = None if timeout is None else seconds(timeout, "--timeout")
    from distq.cli.environment import settings_of_command
    from distq.cli.submit import tell
    from distq.client.client import Client
    from distq.settings import Role

    with Client(settings=settings_of_command(context, Role.CLIENT)) as client:
        try:
            future = client.future(task_id)
        except ValueError as error:
            raise click.BadParameter(f"{task_id!r} is no task id, which is written as in 1a-2f.") from error
        try:
            return tell(future, timeout_s, as_json, unpickle=unpickle)
        finally:
            client.abandon()
