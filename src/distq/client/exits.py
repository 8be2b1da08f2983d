"""The ends of a process: what was submitted is accepted first.

A program runs `atexit` handlers; a child of multiprocessing mostly does not, but it ends its threads as a program does,
and what is registered with `threading` is called in both, while threads can still be started. Threads of the program
that go on after that may still submit: from then on each submit waits for its acceptance.
"""

from __future__ import annotations

import atexit
import threading
import weakref
from typing import Any, Protocol


class Session(Protocol):
    """What is called of a client's session when the process ends."""

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
"""The sessions that have begun and not ended."""


class _Process:
    ends = False
    """Whether this process ends: its main thread is through."""


def enter(session: Session) -> bool:
    """Have a session's tasks accepted before the process ends; whether each submit is to wait for that by itself."""
    _sessions.add(session)
    return _Process.ends


def leave(session: Session) -> None:
    """The session has ended, or is the parent process' own."""
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
        except RuntimeError:  # imported by a thread that goes on after the main thread
            _Process.ends = True
    atexit.register(_end_all)


_register()
