"""Chooses where bars are drawn."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from distq.client.progress.lines import LinesPlace
from distq.client.progress.notebook import notebook_here
from distq.client.progress.terminal import terminal_of

if TYPE_CHECKING:
    from distq.client.progress.drawing import Place


def place_here() -> Place | None:
    """Where a bar is drawn that begins now: a notebook, the terminal of standard error, or plain lines on it."""
    notebook = notebook_here()
    if notebook is not None:
        return notebook
    if sys.stderr is None:  # a program without a console
        return None
    return terminal_of(sys.stderr) or LinesPlace(sys.stderr)
