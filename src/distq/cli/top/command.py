"""The command `distq top`: joins the terminal, the state and the master's pages."""

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Final

import click

from distq.cli.ask import PATIENCE_S, master, seconds
from distq.cli.environment import settings_of_command
from distq.core.errors import DistqError
from distq.net.dial import Connection
from distq.protocol.methods import ADMIN, BROKER
from distq.settings import Role
from distq.wire.errors import RemoteRefusal

EVERY_S_MIN: Final = 0.1
SIGNALLED: Final = 128
"""Shells report a program that a signal has ended with this number plus the signal's."""


class NotATerminal(DistqError):
    """`distq top` has no terminal to draw on."""

    code = "NOT_A_TERMINAL"
    hint = "`distq status --watch --json` and `distq list --watch --json` are for programs and pipes."
    exit_code = 2


class NoLivePages(DistqError):
    """The master has no pages for `distq top`."""

    code = "NO_LIVE_PAGES"
    hint = "Update the master, or use `distq status --watch`."


@click.command("top")
@click.option("--every", metavar="DURATION", default="500ms", show_default=True, help="Pause between two refreshes.")
@click.pass_context
def command(context: click.Context, every: str) -> int:
    """Show queues, workers, running tasks and failures live; sort, filter, cancel and retry them.

    The screen lists the keys. It needs a terminal. The exit code is 0 after q, 130 after Ctrl-C, 143 after SIGTERM.
    """
    every_s = seconds(every, "--every")
    if every_s < EVERY_S_MIN:
        raise click.BadParameter(f"{every!r} is too short: the minimum is {EVERY_S_MIN:g} s.", param_hint="--every")
    if not (sys.stdin.isatty() and sys.stdout.isatty()) or os.environ.get("TERM", "dumb") == "dumb":
        raise NotATerminal("`distq top` needs a terminal as standard input and output, and TERM that names it.")
    settings = settings_of_command(context, Role.CLIENT)
    with master(settings, "top") as first:  # an unreachable master and a wrong key are errors before the screen changes
        try:
            first.call(BROKER, ADMIN, ("live", {"limit": 0}), timeout_s=PATIENCE_S)
        except RemoteRefusal as error:
            raise NoLivePages(f"The master does not answer `distq top`: {error}") from None
        unused = [first]

        @contextmanager
        def connect() -> Iterator[Connection]:
            if unused:
                yield unused.pop()
            else:
                with master(settings, "top") as connection:
                    yield connection

        return show(connect, every_s, ", ".join(map(str, settings.address)))


def show(connect: Callable[[], AbstractContextManager[Connection]], every_s: float, address: str) -> int:
    """Draw pages and answer keys until the user quits; return the exit code."""
    from distq.cli.top.feed import Fatal, Feed
    from distq.cli.top.screen import blocks_for, draw
    from distq.cli.top.state import State
    from distq.cli.top.terminal import Ended, Terminal

    state, blocks = State(), blocks_for(sys.stdout.encoding or "ascii")
    with Terminal() as terminal:
        feed = Feed(connect, every_s, terminal.wake)
        try:
            state.resize(terminal.size[1])
            feed.start(state.query)
            while not state.ended:
                width, height = terminal.size
                terminal.draw(draw(state, width, height, address, blocks))
                for key in terminal.wait_for_keys():
                    state.press(key)
                while terminal.signals:
                    number = terminal.signals.popleft()
                    if number == signal.SIGTSTP:
                        terminal.suspend()
                    elif number != signal.SIGWINCH:
                        return SIGNALLED + number
                state.resize(terminal.size[1])
                for event in feed.take():
                    if isinstance(event, Fatal):
                        raise event.error
                    state.receive(event)
                for what, asked in state.actions:
                    feed.ask(what, asked)
                state.actions.clear()
                feed.show(state.query)
        except Ended:
            pass
        finally:
            feed.close()
    return 0
