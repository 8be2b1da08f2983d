"""Notices that this process is a fork, and begins the clients' sessions anew in it.

Two processes with one session would lose tasks: the master takes the submits of one for repetitions of the other's.
Python's own handlers do not run after every fork: uWSGI forks its processes from C, and calls them only with its option
`py-call-osafterfork`. So clients also compare the process id.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable

_renewals: list[Callable[[], None]] = []


class _ThisProcess:
    pid = os.getpid()
    lock = threading.Lock()


def at_fork(renew: Callable[[], None]) -> None:
    """Have `renew` called in each process that a fork makes from this one, before a client is used there."""
    _renewals.append(renew)


def notice() -> None:
    """Begin anew if this process is a fork in which that has not happened yet."""
    if os.getpid() == _ThisProcess.pid:
        return
    with _ThisProcess.lock:
        if os.getpid() != _ThisProcess.pid:
            _begin_anew()


def _begin_anew() -> None:
    _ThisProcess.pid = os.getpid()
    for renew in _renewals:
        renew()


def _forked() -> None:
    _ThisProcess.lock = threading.Lock()  # another thread of the parent process may have held it
    _begin_anew()


os.register_at_fork(after_in_child=_forked)
