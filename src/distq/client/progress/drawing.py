"""Draws the open bars of this process, in one thread that lives as long as there is one.

Only this thread draws, so a bar may be closed by any code: a signal handler, a finalizer, an event loop.
"""

from __future__ import annotations

import atexit
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, Protocol

from distq.client.locks import Wakeup
from distq.client.progress.line import BarState

if TYPE_CHECKING:
    from distq.client.progress.tally import Countable

DRAWN_S: Final = 10.0
"""Maximum seconds that the end of a bar waits for its last drawing: a terminal may not take it (Ctrl-S)."""
SHARE: Final = 20
"""Minimum ratio of the pause to the time that the thread counts and draws: it takes at most 5% of a processor."""

_now = time.monotonic  # noqa: TID251 - the edge: how long a bar has been open


class Place(Protocol):
    """Where bars are drawn."""

    pause_s: float
    """Seconds between two drawings."""

    def begin(self, bar: ProgressBar) -> None:
        """Add a bar; the thread that opens it calls this."""
        ...

    def draw(self, bars: list[ProgressBar]) -> None:
        """Draw the open bars that belong here."""
        ...

    def end(self, bar: ProgressBar, bars: list[ProgressBar]) -> None:
        """Draw a bar for the last time; `bars` are the others that are open here."""
        ...

    def leave(self) -> None:
        """Undo what the place has changed in this process, which is a forked child; draw nothing."""
        ...


class ProgressBar:
    """One open bar."""

    def __init__(self, label: str, tally: Countable, place: Place) -> None:
        self.label = label
        self.place = place
        self.is_closed = False
        self.is_drawn = threading.Event()
        """Set when the bar was drawn for the last time."""
        self._tally = tally
        self._began_at = _now()
        self.state = BarState(label, tally.count(), 0.0, is_over=False)

    def update(self) -> None:
        """Count again, for the next drawing."""
        self.state = BarState(self.label, self._tally.count(), _now() - self._began_at, self.is_closed)


class Drawing:
    """The open bars of this process, and the thread that draws them."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        """Re-entrant: a finalizer that closes a bar may run in the thread that holds it. It guards `_thread` only."""
        self.bars: list[ProgressBar] = []
        self._wakeup = Wakeup()
        self._thread: threading.Thread | None = None

    def open(self, bar: ProgressBar) -> None:
        """Draw a bar from now on."""
        if not _safely(bar.place.begin, bar):
            return
        with self._lock:
            self.bars.append(bar)
            if self._thread is None:
                thread = threading.Thread(target=self._run, name="distq-progress", daemon=True)
                thread.start()
                self._thread = thread

    def close(self, bar: ProgressBar) -> None:
        """Draw a bar for the last time, and wait for that."""
        bar.is_closed = True  # first: should the rest be interrupted, the thread ends the bar nevertheless
        self._wakeup.set()
        if bar in self.bars and threading.current_thread() is not self._thread:
            bar.is_drawn.wait(DRAWN_S)

    def close_all(self) -> None:
        """Close the bars that are open at the end of the process, so that the terminal is as before."""
        for bar in list(self.bars):
            self.close(bar)

    def leave(self) -> None:
        """Undo what bars of the parent process have changed in this forked child, where nothing draws them."""
        for bar in self.bars:
            bar.place.leave()
            bar.is_drawn = threading.Event()
            bar.is_drawn.set()

    def _run(self) -> None:
        while True:
            began = _now()
            self._draw()
            with self._lock:
                if not self.bars:
                    self._thread = None
                    return
                pause_s = min(bar.place.pause_s for bar in self.bars)
            self._wakeup.wait(max(pause_s, SHARE * (_now() - began)))

    def _draw(self) -> None:
        bars = list(self.bars)
        for bar in bars:
            bar.update()
        for bar in bars:
            if bar.state.is_over:
                _safely(bar.place.end, bar, [one for one in self._at(bar.place) if one is not bar])
                self._remove(bar)
        for place in {id(bar.place): bar.place for bar in self.bars}.values():
            if not _safely(place.draw, self._at(place)):
                for bar in self._at(place):
                    self._remove(bar)

    def _at(self, place: Place) -> list[ProgressBar]:
        """The open bars at a place."""
        return [bar for bar in self.bars if bar.place is place]

    def _remove(self, bar: ProgressBar) -> None:
        with self._lock:
            self.bars.remove(bar)
        bar.is_drawn.set()


def _safely(draw: Callable[..., None], *args: object) -> bool:
    """Draw; False if the place cannot be drawn on, such as a closed stream, which must not disturb the program."""
    try:
        draw(*args)
    except Exception:  # noqa: BLE001 - a program may replace its streams by any object
        return False
    return True


class _DrawingProcess:
    drawing = Drawing()
    """What draws in this process."""


@contextmanager
def drawn(label: str, tally: Countable, place: Place | None) -> Iterator[None]:
    """Draw a bar inside the block; None as the place is nowhere."""
    if place is None:
        yield
        return
    bar = ProgressBar(label, tally, place)
    try:
        _DrawingProcess.drawing.open(bar)
        yield
    finally:
        _DrawingProcess.drawing.close(bar)


def _leave_parent() -> None:
    _DrawingProcess.drawing.leave()
    _DrawingProcess.drawing = Drawing()


def _close_all() -> None:
    _DrawingProcess.drawing.close_all()


os.register_at_fork(after_in_child=_leave_parent)
atexit.register(_close_all)
