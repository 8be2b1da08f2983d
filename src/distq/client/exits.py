"""The exit handlers of a process, which wait until the master has accepted all submits.

A program runs `atexit` handlers. A child process of multiprocessing mostly does not, but both call the handlers that
are registered with `threading`, while threads can still be started. Threads of the program that continue after that may
still submit: from then on each submit waits for its acceptance.
"""

from __future__ import annotations

import atexit
import threading
import weakref
from typing import Any, Protocol


class Session(Protocol):
    """The methods of a client's session that are called when the process ends."""

    def flush_last(self) -> None:
        """Wait until the master has accepted every submit."""
        ...

    def close(self) -> None:
        """End the session."""
        ...

    def join(self) -> None:
        """Wait for the threads of the session."""
        ...


_sessions: weakref.WeakSet[Session] = weakref.WeakSet()
"""The sessions that have begun and have not ended."""


class _Process:
    ends = False
    """Whether this process ends, because its main thread has ended."""


def enter(session: Session) -> bool:
    """Register a session to be flushed at the process's end; returns whether each submit must wait for acceptance."""
    _sessions.add(session)
    return _Process.ends


def leave(session: Session) -> None:
    """Remove a session that has ended, or that belongs to the parent process."""
    _sessions.discard(session)


def _flush_all() -> None:
    _Process.ends = True
    for session in list(_sessions):
        session.flush_last()


def _end_all() -> None:
    _flush_all()
    for session in list(_sessions):
        session.close()
        session.join()


def _register() -> None:
    register: Any = getattr(threading, "_register_atexit", None)
    if register is not None:
        try:
            register(_flush_all)
        except RuntimeError:  # imported by a thread that continues after the main thread
            _Process.ends = True
    atexit.register(_end_all)


_register()
