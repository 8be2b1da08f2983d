"""`distq up`: runs a master and workers in one terminal, for development."""

import errno
import os
import secrets
import signal
import socket
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import click

from distq.cli.changes import Sources
from distq.cli.environment import read_settings
from distq.cli.family import Family
from distq.core.errors import DistqError
from distq.net.stop_request import StopRequest
from distq.net.stop_signals import STOP_SIGNALS, stop_signals
from distq.settings import Address, Role
from distq.settings.load import check_dialled

CHECK_S: Final = 0.1
CHANGES_EVERY: Final = 5
"""Checks of the processes for each check of the sources, which takes longer."""
MASTER: Final = "master"
IN_MEMORY: Final = "memory:"
EXTRA_S: Final = 2.0
"""Seconds that a process may need to end beyond its drain time."""


class EndedEarly(DistqError):
    """A process of the cluster ended before it was stopped."""

    code = "ENDED_EARLY"
    hint = "Its messages are above."


@click.command("up")
@click.argument("modules", metavar="[MODULE ...]", nargs=-1)
@click.option("--workers", type=click.IntRange(1, 100), default=1, show_default=True, help="Number of workers.")
@click.option("--concurrency", metavar="N", help="Executors of each worker; auto is one for each CPU.")
@click.option("--plain-handler", metavar="MODULE:FUNCTION", help="Run plain items with this function.")
@click.option(
    "--reload",
    "reload_",
    is_flag=True,
    help="Restart the workers when a .py file below the current folder changes; errors in it end nothing.",
)
@click.pass_context
def command(
    context: click.Context,
    modules: tuple[str, ...],
    workers: int,
    concurrency: str | None,
    plain_handler: str | None,
    reload_: bool,
) -> int:
    """Run a master and workers until Ctrl-C, and print the settings that clients need.

    Address, key and store come from the settings. Without a key, a new one is made. Without a store, tasks are lost
    when the command ends.
    """
    given, _, texts = read_settings(context, Role.MASTER, needs_authkey=False)
    check_dialled(given.address)
    environ = {"DISTQ_ADDRESS": ",".join(map(str, given.address))}
    if texts["DISTQ_STORE"].source == "default":
        environ["DISTQ_STORE"] = IN_MEMORY
    fresh = None
    if texts["DISTQ_AUTHKEY"].text is None and texts["DISTQ_AUTHKEY_FILE"].text is None:
        fresh = environ["DISTQ_AUTHKEY"] = secrets.token_urlsafe(32)
    names = [f"worker-{number}" for number in range(1, workers + 1)]
    arguments = ["worker", *modules]
    for option, text in (("--concurrency", concurrency), ("--plain-handler", plain_handler)):
        arguments += [option, text] if text is not None else []
    stop = StopRequest()
    stop.listen(stop_signals())
    env_file = ["--env-file", context.find_root().obj] if context.find_root().obj else []
    family = Family(environ, max(map(len, (*names, MASTER))))
    cluster = _UpCluster(family, names, [*env_file, *arguments], given.drain_s + EXTRA_S, stop)
    check_free(given.bind)
    try:
        cluster.start([*env_file, "master"], given.address)
        click.echo(f"export DISTQ_ADDRESS={environ['DISTQ_ADDRESS']}")
        click.echo(f"export DISTQ_AUTHKEY={fresh}" if fresh else "# DISTQ_AUTHKEY is the one in your settings.")
        cluster.watch(Sources(Path.cwd()) if reload_ else None)
    except (KeyboardInterrupt, SystemExit):
        if stop.signal_number is None:
            raise
    finally:
        for number in STOP_SIGNALS:
            signal.signal(number, signal.SIG_IGN)  # a further signal must not leave a process behind
        cluster.stop()
    return 0


class _UpCluster:
    """A master, and workers that run the same modules."""

    def __init__(
        self, family: Family, names: Sequence[str], arguments: Sequence[str], end_s: float, stop: StopRequest
    ) -> None:
        self._family = family
        self._names = names
        self._arguments = arguments
        self._end_s = end_s
        self._stop = stop

    def start(self, master: Sequence[str], addresses: Sequence[Address]) -> None:
        """Start the master, and the workers when it listens; raises EndedEarly if it ends before."""
        self._family.start(MASTER, master)
        while not any(map(_listens, addresses)):
            self._check()
            time.sleep(CHECK_S)
        self._start_workers()

    def _check(self) -> None:
        self._stop.check()
        ended = self._family.ended()
        if ended is not None:
            raise EndedEarly(f"The {ended[0]} ended with exit code {ended[1]}.")

    def _start_workers(self) -> None:
        for name in self._names:
            # The master has the port of DISTQ_HTTP_ADDRESS.
            self._family.start(name, self._arguments, DISTQ_HTTP_ADDRESS="off")

    def watch(self, sources: Sources | None) -> None:
        """Run until a signal; raises EndedEarly if a process ends before, with `sources` only if the master does."""
        checks = 0
        while True:
            self._stop.check()
            if sources is None:
                self._check()
            else:
                self._await_change()
            checks += 1
            if sources is not None and checks % CHANGES_EVERY == 0 and (changed := sources.changed()):
                click.echo(f"{os.path.relpath(changed[0])} has changed: the workers restart.")
                self._family.end([name for name in self._names if name in self._family.members], self._end_s)
                self._start_workers()
            time.sleep(CHECK_S)

    def _await_change(self) -> None:
        """Leave workers that cannot start ended until the next change: the saved file may be unfinished."""
        while (ended := self._family.ended()) is not None:
            name, code = ended
            if name == MASTER:
                self._check()
            self._family.end([name], self._end_s)
            click.echo(f"The {name} ended with exit code {code}; it restarts when a file changes.")

    def stop(self) -> None:
        """Stop the workers, which finish or return their tasks, then the master."""
        members = self._family.members
        self._family.end([name for name in members if name != MASTER], self._end_s)
        self._family.end([name for name in members if name == MASTER], self._end_s)


def _listens(address: Address) -> bool:
    try:
        socket.create_connection(address, CHECK_S).close()
    except OSError:
        return False
    return True


def check_free(address: Address) -> None:
    """Raise CannotListen if a program listens at the address: the workers would connect to it instead."""
    from distq.net.listening import cannot_listen

    if _listens(address):
        raise cannot_listen(address, OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE)))
