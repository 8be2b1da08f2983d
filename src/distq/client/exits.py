"""The ends of a process: what was submitted is accepted first.

A program runs `atexit` handlers; a child of multiprocessing mostly does not, but it ends its threads as a program does,
and what is registered with `threading` is called in both, while threads can still be started. Threads of the program
that go on after that may still submit: from then on each submit waits for its acceptance.
"""

from __future__ import annotations

import atexit
import threading
import weakref
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from distq.client.session import Session

_sessions: weakref.WeakSet[Session] = weakref.WeakSet()
"""Those whose threads run, and some more."""


def enter(session: Session) -> None:
    """Have a session's tasks accepted before the process ends."""
    _sessions.add(session)


def leave(session: Session) -> None:
    """The session has ended, or is the parent process' own."""
    _sessions.discard(session)


def _flush_all() -> None:
    for session in list(_sessions):
        session.flush_last()


def _end_all() -> None:
    for session in list(_sessions):
        session.flush_last()
        session.close()
        session.join()


_register: Any = getattr(threading, "_register_atexit", None)
if _register is not None:
    _register(_flush_all)
atexit.register(_end_all)
