"""Handles the signals that stop a command which runs others: it ends at its next check, or at a second signal."""

import signal
import sys
from collections.abc import Iterable
from types import FrameType
from typing import Final

KILLED: Final = 128
"""Shells report a program that a signal has ended with this number plus the signal's."""


class StopRequest:
    """Notes a signal. An exception of its handler could be lost in a finalizer: Python prints it there, and goes on."""

    def __init__(self) -> None:
        self.signal_number: int | None = None
        """The last signal; None before the first one."""
        self._is_over = False
        """Whether the program cleans up: nothing may interrupt that."""

    def listen(self, numbers: Iterable[int]) -> None:
        """Handle these signals from here on, except those that the caller of this process has made it ignore."""
        for number in numbers:
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, self.note)

    def note(self, number: int, _frame: FrameType | None) -> None:
        """Handle a signal; the second one raises as `check` does, for a program that does not reach its next check."""
        again, self.signal_number = self.signal_number is not None, number
        if again and not self._is_over:
            self.check()

    def check(self) -> None:
        """Raise KeyboardInterrupt after Ctrl-C, and SystemExit after another signal; later signals do nothing."""
        if self.signal_number is None:
            return
        self._is_over = True
        if self.signal_number == signal.SIGINT:
            raise KeyboardInterrupt
        sys.exit(KILLED + self.signal_number)
