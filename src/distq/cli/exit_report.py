"""Prints why a command ended; a master or worker whose log is JSON logs that as JSON too."""

import os
import sys
from collections.abc import Sequence

import click

from distq.cli.early import SERVICES, command_of


def report_end(args: Sequence[str], reason: str, exit_code: int, unforeseen: Exception | None) -> None:
    """Print on standard error why a command ended, with the traceback of an unforeseen error."""
    service, env_file = command_of(list(args))
    if service in SERVICES and _logs_json(env_file):
        from distq.logs import configure, get_logger

        configure("info", "json")
        get_logger().error("command_failed", command=service, reason=reason, code=exit_code, exc_info=unforeseen)
        return
    if unforeseen is not None:
        import traceback

        traceback.print_exception(unforeseen)
    click.echo(f"distq: {reason}", err=True)


def _logs_json(env_file: str) -> bool:
    """Whether a service with these settings logs JSON; settings that cannot be read are ignored."""
    from distq.settings import SettingsError
    from distq.settings.dotenv_file import read_dotenv

    form = os.environ.get("DISTQ_LOG_FORMAT", "").strip()
    path = env_file or ".env"
    if not form and os.path.isfile(path):  # noqa: PTH113 - as the client looks for it
        try:
            form = read_dotenv(path, "DISTQ_").variables.get("DISTQ_LOG_FORMAT", "")
        except SettingsError:
            pass
    if form.lower() in ("json", "console"):
        return form.lower() == "json"
    return not sys.stderr or sys.stderr.closed or not sys.stderr.isatty()
