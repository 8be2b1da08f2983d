"""Bars on a terminal, below everything that the program prints meanwhile."""

from __future__ import annotations

import os
import sys
import threading
from typing import TYPE_CHECKING, Any, TextIO

from distq.client.progress.line import BarState, line_of

if TYPE_CHECKING:
    from rich.live import Live
    from rich.text import Text

    from distq.client.progress.drawing import ProgressBar


class TerminalPlace:
    """Draws bars with rich, which is imported at the first bar."""

    pause_s = 0.1

    def __init__(self, stream: TextIO) -> None:
        from rich.console import Console  # noqa: PLC0415 - its import takes 40 ms

        self._console = Console(file=stream)
        self._live: Live | None = None
        self._streams: tuple[Any, Any] | None = None
        """The output streams of the process before rich replaced them, to print above the bars."""

    @property
    def is_usable(self) -> bool:
        """Whether the terminal can draw over what it shows."""
        return self._console.is_terminal and not self._console.is_dumb_terminal

    def begin(self, bar: ProgressBar) -> None:
        """Draw nothing yet."""

    def draw(self, bars: list[ProgressBar]) -> None:
        """Draw the bars, one below the other."""
        if self._live is None:
            self._start()
        self._show([bar.state for bar in bars])

    def end(self, bar: ProgressBar, bars: list[ProgressBar]) -> None:
        """Leave the last state of a bar above those that are open."""
        if self._live is not None and not bars:
            self._show([bar.state])
            self._stop()
            return
        if bars:
            self.draw(bars)
        self._console.print(self._text(bar.state), soft_wrap=True)

    def leave(self) -> None:
        """Give a forked child its streams back: those of rich have locks that the parent's thread may hold."""
        if self._streams is not None:
            sys.stdout, sys.stderr = self._streams

    def _start(self) -> None:
        from rich.live import Live  # noqa: PLC0415 - as above

        # rich prints to its console what goes to a redirected stream: a standard output that is a file stays as it is.
        redirects_stdout = is_terminal(sys.stdout)
        self._streams = sys.stdout, sys.stderr
        self._live = Live(console=self._console, auto_refresh=False, redirect_stdout=redirects_stdout)
        self._live.start()
        self._console.show_cursor(True)  # a program that is killed must not leave a terminal without a cursor

    def _stop(self) -> None:
        live, self._live, self._streams = self._live, None, None
        if live is not None:
            live.stop()

    def _show(self, states: list[BarState]) -> None:
        from rich.console import Group  # noqa: PLC0415 - as above

        assert self._live is not None
        self._live.update(Group(*map(self._text, states)), refresh=True)

    def _text(self, state: BarState) -> Text:
        from rich.text import Text  # noqa: PLC0415 - as above

        ascii_only = not self._console.encoding.startswith("utf")
        line = line_of(state, max(self._console.width - 1, 1), ascii_only=ascii_only)
        color = "red" if state.counts.failed else "green" if state.is_over else "cyan"
        parts = (
            line.label,
            (line.filled, color),
            (line.rest, "bright_black"),
            line.numbers,
            (line.failed, "red"),
            (line.further, "bright_black"),
        )
        text = Text.assemble(*parts, no_wrap=True, overflow="crop")
        text.truncate(max(self._console.width - 1, 1))  # some characters are two columns wide
        return text


class _SharedTerminal:
    terminal: TerminalPlace | None = None
    """The terminal of this process's bars; several bars at the same time share it."""
    stream: TextIO | None = None
    lock = threading.RLock()
    """Held while a terminal is made; re-entrant, because a signal handler may begin a bar."""


def _renew_lock() -> None:
    """Replace the lock after a fork: another thread of the parent process may have held it."""
    _SharedTerminal.terminal, _SharedTerminal.lock = None, threading.RLock()


os.register_at_fork(after_in_child=_renew_lock)


def is_terminal(stream: Any) -> bool:
    """Whether a stream is a terminal; one that is closed, or that has only write(), is none."""
    try:
        return bool(stream.isatty())
    except Exception:  # noqa: BLE001 - a program may replace its streams by any object, or by None
        return False


def terminal_of(stream: TextIO) -> TerminalPlace | None:
    """The terminal behind a stream; None if it is none, or one that cannot draw over what it shows."""
    if not is_terminal(stream):
        return None
    stream = getattr(stream, "rich_proxied_file", stream)  # rich has replaced it while bars are drawn
    with _SharedTerminal.lock:  # bars of several threads that begin together share one terminal
        if _SharedTerminal.terminal is None or _SharedTerminal.stream is not stream:
            _SharedTerminal.terminal, _SharedTerminal.stream = TerminalPlace(stream), stream
        return _SharedTerminal.terminal if _SharedTerminal.terminal.is_usable else None
