"""`manage.py distq_outbox`: submits the rows of the outbox."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import DEFAULT_DB_ALIAS, connections

from distq.contrib.django.connection import UnclearMaster, relay_client_of
from distq.contrib.django.outbox.models import WaitingTask
from distq.contrib.django.outbox.store import DjangoOutboxStore
from distq.contrib.outbox.command import DOUBTFUL, DOUBTFUL_HELP, run_relay, settle_doubtful
from distq.contrib.outbox.relay import INTERVAL_S, checked_interval_s
from distq.core.errors import DistqError


class RelayCommand(BaseCommand):  # type: ignore[misc] # Django has no types
    """Submit the rows of the outbox to the master."""

    help = "Submit the rows of the outbox to the master, until SIGTERM or Ctrl-C. Several relays may run."

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the options."""
        parser.add_argument(
            "--database", default=DEFAULT_DB_ALIAS, choices=tuple(connections), help="Alias of the outbox's database."
        )
        parser.add_argument("--backend", help="Alias in TASKS whose ADDRESS and AUTHKEY the relay uses.")
        parser.add_argument("--interval", type=float, default=INTERVAL_S, help="Seconds between two looks.")
        parser.add_argument("--once", action="store_true", help="End when no row is due.")
        parser.add_argument("--doubtful", choices=DOUBTFUL, help=DOUBTFUL_HELP)

    def handle(
        self, *, database: str, backend: str | None, interval: float, once: bool, doubtful: str | None, **_: Any
    ) -> None:
        """Run the command."""
        try:
            checked_interval_s("--interval", interval)
        except (TypeError, ValueError) as error:
            raise CommandError(f"{error}.") from error
        if WaitingTask._meta.db_table not in connections[database].introspection.table_names():  # noqa: SLF001 - Django's API
            raise CommandError(f"The database {database!r} has no table of the outbox. Run manage.py migrate.")
        store = DjangoOutboxStore(database)
        if doubtful is not None:
            settle_doubtful(store, doubtful, self._say)
            return
        try:
            run_relay(store, lambda: relay_client_of(backend), interval, once=once, say=self._say)
        except UnclearMaster as error:
            raise CommandError(str(error)) from error
        except DistqError as error:
            raise CommandError(f"{error} {error.hint}".rstrip(), returncode=error.exit_code) from error

    def _say(self, text: str) -> None:
        self.stdout.write(text)
        self.stdout.flush()  # a log file shows it while the relay runs


Command = RelayCommand  # the name that Django looks for
