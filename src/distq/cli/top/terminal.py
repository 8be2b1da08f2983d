"""The terminal of `distq top`: keys without Enter, a screen of its own, and both restored however the program ends."""

import os
import select
import signal
import sys
import termios
import tty
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from types import FrameType
from typing import Any, Final, Self

from rich.console import Console
from rich.text import Text

ENTER_SCREEN: Final = "\x1b[?1049h\x1b[?25l\x1b[2J"
LEAVE_SCREEN: Final = "\x1b[?25h\x1b[?1049l"
READ_BYTES: Final = 4096
ESCAPE_S: Final = 0.05
"""Seconds in which the rest of a key that begins with Escape must come, over a slow line too."""
SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGTSTP, signal.SIGWINCH)
NAMES: Final = {
    "\x1b[A": "up", "\x1bOA": "up", "\x1b[B": "down", "\x1bOB": "down", "\x1b[5~": "page up", "\x1b[6~": "page down",
    "\x1b[H": "home", "\x1b[1~": "home", "\x1bOH": "home", "\x1b[F": "end", "\x1b[4~": "end", "\x1bOF": "end",
    "\r": "enter", "\n": "enter", "\x7f": "backspace", "\x08": "backspace", "\t": "tab", "\x1b": "escape",
}  # fmt: skip
"""The names of keys by the characters that terminals send for them."""


class Ended(Exception):
    """Standard input has ended, or the terminal has gone."""


class Terminal:
    """A terminal whose keys are read one by one."""

    def __init__(self) -> None:
        self._in = sys.stdin.fileno()
        self._out = sys.stdout.fileno()
        self._wake_out, self._wake_in = os.pipe()
        os.set_blocking(self._wake_in, False)
        self.signals: deque[int] = deque()
        """Signals that have arrived, oldest first."""
        self._attributes: list[Any] = []
        self._handlers: dict[int, Any] = {}
        self._drawn: list[str] = []
        self._size = os.terminal_size((0, 0))
        # rich reads NO_COLOR and TERM; the size is set before each drawing.
        self._console = Console(file=sys.stdout, force_terminal=True, highlight=False, legacy_windows=False)

    def __enter__(self) -> Self:
        self._attributes = termios.tcgetattr(self._in)
        for number in SIGNALS:
            self._handlers[number] = signal.signal(number, self._note)
        try:
            self._take()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._give_back()
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        os.close(self._wake_in)
        os.close(self._wake_out)

    def _take(self) -> None:
        tty.setcbreak(self._in)
        self._write(ENTER_SCREEN)
        self._drawn = []

    def _give_back(self) -> None:
        with suppress(termios.error, Ended):  # the terminal may have gone
            self._write(LEAVE_SCREEN)
        with suppress(termios.error):
            termios.tcsetattr(self._in, termios.TCSADRAIN, self._attributes)

    def _note(self, number: int, _frame: FrameType | None) -> None:
        self.signals.append(number)
        self.wake()

    def wake(self) -> None:
        """Have `wait_for_keys` return soon; any thread and any signal handler may call this."""
        with suppress(OSError):  # full, so that it is awake already, or closed
            os.write(self._wake_in, b"!")

    def suspend(self) -> None:
        """Give the terminal back to the shell until the shell continues this process."""
        self._give_back()
        os.kill(os.getpid(), signal.SIGSTOP)
        self._take()

    @property
    def size(self) -> tuple[int, int]:
        """Columns and rows, as they are now."""
        try:
            size = os.get_terminal_size(self._out)
        except OSError:
            raise Ended from None
        return size.columns or 80, size.lines or 24

    def wait_for_keys(self) -> list[str]:
        """Wait for keys or for `wake`, and return the keys. Raises Ended."""
        readable, _, _ = select.select([self._in, self._wake_out], [], [])
        if self._wake_out in readable:
            os.read(self._wake_out, READ_BYTES)
        if self._in not in readable:
            return []
        text = self._read()
        if text.startswith("\x1b") and len(text) < 3 and select.select([self._in], [], [], ESCAPE_S)[0]:
            text += self._read()
        return split_keys(text)

    def _read(self) -> str:
        try:
            data = os.read(self._in, READ_BYTES)
        except OSError:
            raise Ended from None
        if not data or data == b"\x04":  # Ctrl-D; in this mode the terminal sends it as a character
            raise Ended
        return data.decode(errors="replace")

    def draw(self, lines: Sequence[Text]) -> None:
        """Show these lines; only lines that differ from the shown ones are written."""
        width, height = self.size
        if (width, height) != tuple(self._size):
            self._size = os.terminal_size((width, height))
            self._drawn = []
        self._console.width = width
        rendered = [self._rendered(line) for line in lines[:height]]
        changed = [
            f"\x1b[{row};1H\x1b[K{line}"  # cleared first: after a full line the cursor is still on its last column
            for row, line in enumerate(rendered, 1)
            if row > len(self._drawn) or self._drawn[row - 1] != line
        ]
        if changed:
            self._write("".join(changed))
        self._drawn = rendered

    def _rendered(self, line: Text) -> str:
        with self._console.capture() as captured:
            self._console.print(line, end="", no_wrap=True, overflow="crop", crop=True)
        return captured.get()

    def _write(self, text: str) -> None:
        data = text.encode(sys.stdout.encoding or "utf-8", errors="replace")
        try:
            while data:
                data = data[os.write(self._out, data) :]
        except OSError:
            raise Ended from None


def split_keys(text: str) -> list[str]:
    """Split what a terminal has sent into keys, each by its name or as its character."""
    keys = []
    while text:
        if text.startswith("\x1b") and len(text) > 1:
            length = next((end for end in range(2, len(text)) if text[end].isalpha() or text[end] == "~"), 0) + 1
            if text[1] in "[O" and length > 2:
                sequence, text = text[:length], text[length:]
                keys.append(NAMES.get(sequence, ""))
                continue
        keys.append(NAMES.get(text[0], text[0]))
        text = text[1:]
    return [key for key in keys if key]
