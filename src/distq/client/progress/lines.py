"""Bars where there is no terminal: a plain line from time to time, for logs of programs that take long."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final, TextIO

from distq.client.progress.line import sentence_of

if TYPE_CHECKING:
    from distq.client.progress.drawing import ProgressBar

FIRST_S: Final = 10.0
"""Seconds until the first line: a bar that ends before prints nothing. The pause doubles after each line."""
PAUSE_MAX_S: Final = 60.0
"""Maximum seconds between two lines."""

_now = time.monotonic  # noqa: TID251 - the edge: when a line was printed


class LinesPlace:
    """Prints the state of one bar."""

    pause_s = 0.5

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._pause_s = FIRST_S
        self._next_at = _now() + FIRST_S

    def begin(self, bar: ProgressBar) -> None:
        """Print nothing yet."""

    def draw(self, bars: list[ProgressBar]) -> None:
        """Print a line if it is time."""
        if _now() >= self._next_at:
            self._pause_s = min(2 * self._pause_s, PAUSE_MAX_S)
            self._next_at = _now() + self._pause_s
            for bar in bars:
                self._print(bar)

    def end(self, bar: ProgressBar, bars: list[ProgressBar]) -> None:  # noqa: ARG002 - each bar has a place of its own
        """Print the last state if the bar has printed a line before."""
        if self._pause_s > FIRST_S:
            self._print(bar)

    def leave(self) -> None:
        """Change nothing: the place has changed nothing."""

    def _print(self, bar: ProgressBar) -> None:
        print(sentence_of(bar.state), file=self._stream)
        flush = getattr(self._stream, "flush", None)  # an object that a program has put there may have only write()
        if flush is not None:
            flush()
