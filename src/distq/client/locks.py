"""What a client's threads wait for: a turn that knows its holder, and a wake-up that any code may give.

A signal handler, a finalizer and a done-callback run in a thread that may be in the middle of the client's own work. A
plain lock that this thread holds would never become free.
"""

from __future__ import annotations

import threading
from contextlib import suppress
from types import TracebackType
from typing import Any

from distq.core.errors import DistqError


class CalledInside(DistqError, RuntimeError):
    """The thread is in the middle of a call of the same client, which cannot go on before this one returns."""

    code = "CALLED_INSIDE"
    hint = "In a signal handler set a flag, or start a thread for the call."
    exit_code = 2


def is_owned(lock: Any) -> bool:
    """Whether this thread holds a re-entrant lock."""
    return bool(lock._is_owned())  # noqa: SLF001 - what threading.Condition asks of it, too


class OwnedLock:
    """A lock for one thread at a time, which refuses in words to make a thread wait for itself."""

    __slots__ = ("_lock", "is_held")

    def __init__(self) -> None:
        self._lock = threading.RLock()
        """Re-entrant for one reason: it knows its holder from the instant at which it is taken. It is taken once."""
        self.is_held = False
        """Whether any thread has it; for others to look at only."""

    def acquire(self, timeout_s: float = -1) -> bool:
        """Wait for the turn, for ever if `timeout_s` is negative; 0 does not wait. Whether it was had.

        Raises CalledInside if this thread has it and would wait.
        """
        if self.is_mine:
            if timeout_s == 0:
                return False
            raise CalledInside("This call interrupted another one of the same client in this thread.")
        if not (self._lock.acquire(timeout=timeout_s) if timeout_s else self._lock.acquire(blocking=False)):
            return False
        self.is_held = True
        return True

    def release(self) -> None:
        """Let another thread have it."""
        self.is_held = False
        self._lock.release()

    @property
    def is_mine(self) -> bool:
        """Whether this thread has it."""
        return is_owned(self._lock)

    def __enter__(self) -> None:
        self.acquire()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


class Wakeup:
    """Wakes one thread that waits, now or when it waits next. May be given from a finalizer or a signal handler.

    An Event may not: it has a lock inside that the interrupted thread may hold.
    """

    __slots__ = ("_asleep",)

    def __init__(self) -> None:
        self._asleep = threading.Lock()
        self._asleep.acquire()

    def set(self) -> None:
        """Wake the thread."""
        if self._asleep.locked():
            with suppress(RuntimeError):  # another one has woken it at this instant
                self._asleep.release()

    def wait(self, timeout_s: float | None) -> None:
        """Return once woken, at most `timeout_s` seconds later."""
        self._asleep.acquire(timeout=-1 if timeout_s is None else max(timeout_s, 0.0))
