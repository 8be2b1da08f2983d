"""Tests of bars on a pseudo-terminal."""

import os
import pty
import threading
from collections.abc import Iterator
from typing import TextIO

import pytest

from distq.client.progress.drawing import ProgressBar, drawn
from distq.client.progress.tally import Tally
from distq.client.progress.terminal import TerminalPlace, terminal_of

ERASE = "\x1b[2K"
SHOW_CURSOR, HIDE_CURSOR = "\x1b[?25h", "\x1b[?25l"


class PseudoTerminal:
    """A pseudo-terminal of 60 columns: the stream of the program, and what it has written."""

    def __init__(self) -> None:
        self.outside, inside = pty.openpty()
        self.stream: TextIO = os.fdopen(inside, "w", encoding="utf-8")

    def text(self) -> str:
        """Return all that was written, which ends the stream."""
        self.stream.close()
        seen = b""
        while True:
            try:
                seen += os.read(self.outside, 65_536)
            except OSError:  # the stream was closed, and everything is read
                return seen.decode()

    def close(self) -> None:
        """End the terminal."""
        if not self.stream.closed:
            self.stream.close()
        os.close(self.outside)


@pytest.fixture(name="terminal")
def pseudo_terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[PseudoTerminal]:
    """Yield a pseudo-terminal."""
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.delenv("NO_COLOR", raising=False)
    made = PseudoTerminal()
    yield made
    made.close()


def place_on(terminal: PseudoTerminal) -> TerminalPlace:
    """Return the place on a terminal."""
    place = terminal_of(terminal.stream)
    assert place is not None
    return place


def test_bars_of_several_threads_share_a_terminal(terminal: PseudoTerminal) -> None:
    """Otherwise each would draw over the others."""
    begin = threading.Barrier(8)
    found = []

    def find() -> None:
        begin.wait()
        found.append(terminal_of(terminal.stream))

    threads = [threading.Thread(target=find) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(map(id, found))) == 1


def test_a_bar_that_ends_stays_above_those_that_are_open(terminal: PseudoTerminal) -> None:
    """Each has a last line of its own, and the cursor is shown and below them at the end."""
    place = place_on(terminal)
    outer, inner = (ProgressBar(label, Tally(2), place) for label in ("outer", "inner"))
    place.draw([outer, inner])
    place.end(inner, [outer])
    place.end(outer, [])
    text = terminal.text()
    assert ERASE in text
    assert text.rindex("inner") < text.rindex("outer")
    assert text.rindex(SHOW_CURSOR) > text.rindex(HIDE_CURSOR)
    assert text.rindex("\r\n") > text.rindex("outer")


def test_a_terminal_gets_no_colours_if_no_color_is_set(
    terminal: PseudoTerminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The variable is that of https://no-color.org."""
    monkeypatch.setenv("NO_COLOR", "1")
    with drawn("x", Tally(0), place_on(terminal)):
        pass
    text = terminal.text()
    assert "x ━" in text
    assert "\x1b[3" not in text


def test_a_terminal_that_cannot_draw_over_its_lines_is_no_place(
    terminal: PseudoTerminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Plain lines are printed there, and on what is no terminal."""
    monkeypatch.setenv("TERM", "dumb")
    assert terminal_of(terminal.stream) is None
    with open(os.devnull, "w", encoding="utf-8") as file:  # noqa: PTH123 - no path is needed
        assert terminal_of(file) is None
