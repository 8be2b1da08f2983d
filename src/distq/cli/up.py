"""`distq up`: a whole cluster in one terminal, for development."""

import os
import secrets
import signal
import socket
import time
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import Final

import click

from distq.cli.changes import Sources
from distq.cli.environment import read_settings
from distq.cli.family import Family
from distq.core.errors import DistqError
from distq.net.stop_signals import stop_signals
from distq.settings import Address, Role

LOOK_S: Final = 0.1
CHANGES_EVERY: Final = 5
"""Looks between two at the sources: half a second."""
MASTER: Final = "master"
FORGETTING: Final = "memory:"
EXTRA_S: Final = 2.0
"""What a process may need to end beyond its drain time."""


class EndedEarly(DistqError):
    """A process of the cluster has ended by itself."""

    code = "ENDED_EARLY"
    hint = "What it has said stands above."


class _Stop(Exception):
    """A signal has asked for the end."""


@click.command("up")
@click.argument("modules", metavar="[MODULE ...]", nargs=-1)
@click.option("--workers", type=click.IntRange(1, 100), default=1, show_default=True, help="How many workers.")
@click.option("--concurrency", metavar="N", help="How many executors each has; auto is one for each CPU.")
@click.option("--plain-handler", metavar="MODULE:FUNCTION", help="Run plain items with this function.")
@click.option(
    "--reload",
    "reload_",
    is_flag=True,
    help="Restart the workers when a .py file below here changes; mistakes in it end nothing.",
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
    """Run a master and workers here, until Ctrl-C; it prints what clients need to find them.

    Address, key and store are those of the settings; without a key a new one is made, and without a store what is
    left when it ends is forgotten.
    """
    given, _, texts = read_settings(context, Role.MASTER, needs_authkey=False)
    environ = {"DISTQ_ADDRESS": ",".join(map(str, given.address))}
    if texts["DISTQ_STORE"].source == "default":
        environ["DISTQ_STORE"] = FORGETTING
    fresh = None
    if texts["DISTQ_AUTHKEY"].text is None and texts["DISTQ_AUTHKEY_FILE"].text is None:
        fresh = environ["DISTQ_AUTHKEY"] = secrets.token_urlsafe(32)
    names = [f"worker-{number}" for number in range(1, workers + 1)]
    arguments = ["worker", *modules]
    for option, text in (("--concurrency", concurrency), ("--plain-handler", plain_handler)):
        arguments += [option, text] if text is not None else []
    for number in stop_signals():
        signal.signal(number, _stop)
    before = ["--env-file", context.find_root().obj] if context.find_root().obj else []
    family = Family(environ, max(map(len, (*names, MASTER))))
    cluster = _UpCluster(family, names, [*before, *arguments], given.drain_s + EXTRA_S)
    try:
        cluster.start([*before, "master"], given.address)
        click.echo(f"export DISTQ_ADDRESS={environ['DISTQ_ADDRESS']}")
        click.echo(f"export DISTQ_AUTHKEY={fresh}" if fresh else "# DISTQ_AUTHKEY is the one in your settings.")
        cluster.watch(Sources(Path.cwd()) if reload_ else None)
    except _Stop:
        pass
    finally:
        for number in stop_signals():
            signal.signal(number, signal.SIG_IGN)  # it ends soon in any case, and must not end halfway
        cluster.stop()
    return 0


class _UpCluster:
    """A master and workers of one module list."""

    def __init__(self, family: Family, names: Sequence[str], arguments: Sequence[str], end_s: float) -> None:
        self._family = family
        self._names = names
        self._arguments = arguments
        self._end_s = end_s

    def start(self, master: Sequence[str], addresses: Sequence[Address]) -> None:
        """Start the master, and the workers once it listens; raises EndedEarly when it ends before."""
        self._family.start(MASTER, master)
        while not any(map(_listens, addresses)):
            self._check()
            time.sleep(LOOK_S)
        self._start_workers()

    def _check(self) -> None:
        ended = self._family.ended()
        if ended is not None:
            raise EndedEarly(f"The {ended[0]} has ended with exit code {ended[1]}.")

    def _start_workers(self) -> None:
        for name in self._names:
            # Its HTTP side would want the master's port.
            self._family.start(name, self._arguments, DISTQ_HTTP_ADDRESS="off")

    def watch(self, sources: Sources | None) -> None:
        """Go on until a signal comes; raises EndedEarly when one of them ends before, with `sources` the master."""
        looks = 0
        while True:
            if sources is None:
                self._check()
            else:
                self._let_workers_go()
            looks += 1
            if sources is not None and looks % CHANGES_EVERY == 0 and (changed := sources.changed()):
                click.echo(f"{os.path.relpath(changed[0])} has changed: the workers begin anew.")
                self._family.end([name for name in self._names if name in self._family.members], self._end_s)
                self._start_workers()
            time.sleep(LOOK_S)

    def _let_workers_go(self) -> None:
        """Workers that cannot start wait for the next change: what was saved is half done, and the tasks stay."""
        while (ended := self._family.ended()) is not None:
            name, code = ended
            if name == MASTER:
                self._check()
            self._family.end([name], self._end_s)
            click.echo(f"The {name} has ended with exit code {code}; it starts again when a file has changed.")

    def stop(self) -> None:
        """End the workers, which hand back or finish what they hold, then the master."""
        members = self._family.members
        self._family.end([name for name in members if name != MASTER], self._end_s)
        self._family.end([name for name in members if name == MASTER], self._end_s)


def _listens(address: Address) -> bool:
    try:
        socket.create_connection(address, LOOK_S).close()
    except OSError:
        return False
    return True


def _stop(_number: int, _frame: FrameType | None) -> None:
    raise _Stop
