"""`manage.py distq_worker`: runs a worker of the project."""

from __future__ import annotations

import os
import sys
from typing import Any, Final

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from distq.contrib.django.connection import MasterOptions, UnclearMaster, backends_of_one_master
from distq.contrib.django.reload import run_and_reload

MODULE: Final = "distq.contrib.django.run"
OPTIONS: Final = {
    "queues": ("NAMES", "Queues to serve, separated by commas; by default the QUEUES of the project's backends."),
    "concurrency": ("N", "Number of executors; auto is one for each CPU."),
    "executor": ("KIND", "Kind of executor: process runs one task at a time, thread several."),
    "executor-tasks": ("N", "Slots of an executor of kind thread."),
    "pool": ("NAME", "Pool that this worker belongs to."),
    "max-tasks": ("N", "Replace an executor after N tasks."),
    "max-rss": ("SIZE", "Replace an executor that has more memory than this after a task, as in 500MB."),
    "labels": ("NAMES", "Labels that tasks can require of a worker, as in gpu,eu."),
}
"""The options of `distq worker` that this command passes on, with their values and help texts."""


class WorkerCommand(BaseCommand):  # type: ignore[misc] # Django has no types
    """Run a worker of the project."""

    help = (
        "Run the tasks of this project until SIGTERM or Ctrl-C. Settings of distq come from the environment, the "
        "address and the key also from the OPTIONS of the backend."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the options."""
        parser.add_argument("modules", nargs="*", metavar="MODULE", help="Further modules to import at start.")
        for name, (metavar, text) in OPTIONS.items():
            parser.add_argument(f"--{name}", metavar=metavar, help=text)
        parser.add_argument("--backend", metavar="ALIAS", help="Backend in TASKS whose master and queues to use.")
        parser.add_argument(
            "--reload", action="store_true", default=None, help="Start again when source changes; default with DEBUG."
        )
        parser.add_argument("--noreload", action="store_false", dest="reload", help="Do not start again.")

    def handle(self, *, modules: list[str], backend: str | None, reload: bool | None, **options: Any) -> None:
        """Run the command."""
        if not os.environ.get("DJANGO_SETTINGS_MODULE"):
            raise CommandError("The executors need the project's settings: set DJANGO_SETTINGS_MODULE, or --settings.")
        try:
            backends = backends_of_one_master(backend)
        except UnclearMaster as error:
            raise CommandError(str(error)) from error
        environ = _environ_of(backends, options["pythonpath"])
        further = modules or [name.strip() for name in os.environ.get("DISTQ_TASKS", "").split(",") if name.strip()]
        arguments = ["worker", MODULE, *further]
        queues = options["queues"] or os.environ.get("DISTQ_QUEUES") or _queues_of(backends)
        for name in OPTIONS:
            value = queues if name == "queues" else options[name.replace("-", "_")]
            if value:
                arguments += [f"--{name}", value]
        self.stdout.flush()
        self.stderr.flush()
        if settings.DEBUG if reload is None else reload:
            sys.exit(run_and_reload(arguments, environ, self._say))
        # The worker's supervisor imports no code of the project, so no task keeps it from sending heartbeats.
        os.execve(sys.executable, [sys.executable, "-m", "distq", *arguments], environ)  # noqa: S606 - this Python

    def _say(self, text: str) -> None:
        self.stdout.write(text)
        self.stdout.flush()  # before what the worker writes


Command = WorkerCommand  # the name that Django looks for


def _environ_of(backends: list[MasterOptions], pythonpath: str | None) -> dict[str, str]:
    """The worker's environment: it connects as the backends do, and imports what `manage.py` imports."""
    paths = [pythonpath, sys.path[0], os.environ.get("PYTHONPATH")]
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in paths if path)}
    for backend in backends:
        if backend.address is not None:
            environ["DISTQ_ADDRESS"] = backend.address
        if backend.authkey is not None:
            environ["DISTQ_AUTHKEY"] = backend.authkey if isinstance(backend.authkey, str) else backend.authkey.decode()
    return environ


def _queues_of(backends: list[MasterOptions]) -> str:
    """The queues of the backends; '' if one of them takes every name."""
    if not all(backend.queues for backend in backends):
        return ""
    return ",".join(sorted(set().union(*(backend.queues for backend in backends))))
