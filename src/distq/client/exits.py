"""The exit handlers of a process, which wait for the outcomes of tasks, as the standard library's executors do.

First they wait until the master has accepted all submits, then for the outcomes of their tasks. A program runs `atexit`
handlers. A child process of multiprocessing mostly does not, but both call the handlers that are registered with
`threading`, while threads can still be started. Threads of the program that continue after that may still submit: from
then on each submit waits for its acceptance.
"""

from __future__ import annotations

import atexit
import logging
import math
import threading
import time
import weakref
from typing import Any, Final, Protocol

from distq.client.forks import notice
from distq.tasks import access

CHECK_S: Final = 0.5
"""Seconds between two checks, while the process waits at its end, whether a master answers."""
WARNING_S: Final = 5.0
"""Seconds for which the process waits at its end before a warning says why."""

log = logging.getLogger("distq")

_now = time.monotonic  # noqa: TID251 - the edge: how long the process has waited


class SessionAtExit(Protocol):
    """What the exit handlers need of a client's session."""

    waits_at_exit: bool

    def wait_until_accepted(self, timeout_s: float | None) -> bool:
        """Wait until the master has answered every submit so far; False if the timeout ends first."""
        ...

    def flush_last(self) -> None:
        """Wait until the master has accepted every submit."""
        ...

    def wait_for_outcomes(self, timeout_s: float) -> bool:
        """Wait until every future has its outcome and every callback was called; False if `timeout_s` is over first."""
        ...

    @property
    def is_cut_off(self) -> bool:
        """Whether no master has answered for DISTQ_CONNECT_WAIT_S."""
        ...

    def close(self) -> None:
        """End the session."""
        ...

    def join(self) -> None:
        """Wait for the threads of the session."""
        ...


_sessions: weakref.WeakSet[SessionAtExit] = weakref.WeakSet()
"""The sessions that have begun and have not ended."""


class _Process:
    ends = False
    """Whether this process ends, because its main thread has ended."""


def enter(session: SessionAtExit) -> bool:
    """Register a session to be flushed at the process's end; returns whether each submit must wait for acceptance."""
    _sessions.add(session)
    return _Process.ends


def leave(session: SessionAtExit) -> None:
    """Remove a session that has ended, or that belongs to the parent process."""
    _sessions.discard(session)


def _flush(timeout_s: float) -> None:
    """Wait until masters have answered the submits of all sessions, at most `timeout_s`."""
    deadline = _now() + timeout_s
    for session in list(_sessions):
        session.wait_until_accepted(deadline - _now())


def _flush_all() -> None:
    _Process.ends = True
    for session in list(_sessions):
        session.flush_last()


def _wait_for_all() -> None:
    notice()
    try:
        _flush_all()
        for session in list(_sessions):
            if session.waits_at_exit and access.access is None:  # a worker's executor ends without its tasks' tasks
                _wait_for(session)
    except KeyboardInterrupt:  # Ctrl-C ends the wait, and not the handlers that follow
        log.warning("The program ends without the outcomes of its tasks: Ctrl-C has ended the wait.")


def _wait_for(session: SessionAtExit) -> None:
    warning_at = _now() + WARNING_S
    while not session.wait_for_outcomes(CHECK_S):
        if session.is_cut_off:
            log.warning("The program ends without the outcomes of its tasks, because no master answers.")
            return
        if _now() >= warning_at:
            warning_at = math.inf
            log.warning(
                "The program has ended, and waits for the outcomes of its tasks. Ctrl-C ends the wait; a client that "
                "is made with wait_at_exit=False does not wait."
            )


def _end_all() -> None:
    notice()
    _flush_all()
    for session in list(_sessions):
        session.close()
        session.join()


def _register() -> None:
    register: Any = getattr(threading, "_register_atexit", None)
    if register is not None:
        try:
            register(_wait_for_all)
        except RuntimeError:  # imported by a thread that continues after the main thread
            _Process.ends = True
    atexit.register(_end_all)


access.flush = _flush
_register()
