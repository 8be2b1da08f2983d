"""Bars in notebooks: HTML by the notebook's display protocol, which the notebook replaces at each drawing."""

from __future__ import annotations

import sys
import uuid
from typing import TYPE_CHECKING, Any

from distq.client.progress.line import html_of, sentence_of

if TYPE_CHECKING:
    from distq.client.progress.drawing import ProgressBar


class NotebookPlace:
    """The output of a notebook's cell that shows one bar."""

    pause_s = 0.25

    def __init__(self, ipython_display: Any) -> None:
        self._display = ipython_display
        self._id = uuid.uuid4().hex
        self._shown: dict[str, str] = {}

    def begin(self, bar: ProgressBar) -> None:
        """Show the bar below the running cell."""
        self._shown = _formats(bar)
        self._display.display(self._shown, raw=True, display_id=self._id)

    def draw(self, bars: list[ProgressBar]) -> None:
        """Replace what the notebook shows."""
        for bar in bars:
            formats = _formats(bar)
            if formats != self._shown:
                self._shown = formats
                self._display.update_display(formats, raw=True, display_id=self._id)

    def end(self, bar: ProgressBar, bars: list[ProgressBar]) -> None:  # noqa: ARG002 - each bar has a place of its own
        """Show the last state."""
        self.draw([bar])

    def leave(self) -> None:
        """Change nothing: the place has changed nothing."""


def notebook_here() -> NotebookPlace | None:
    """A place in the notebook whose kernel is this process; None if it is not a notebook's kernel."""
    ipython = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    if getattr(shell, "kernel", None) is None:  # no IPython, or IPython on a terminal
        return None
    from IPython import display  # noqa: PLC0415 - only a notebook has it

    return NotebookPlace(display)


def _formats(bar: ProgressBar) -> dict[str, str]:
    return {"text/html": html_of(bar.state), "text/plain": sentence_of(bar.state)}
