"""The locks of a client's threads: `OwnedLock`, which knows its holder, and `Wakeup`, which any code may set.

A signal handler, a finalizer and a done-callback may run in a thread that is in the middle of the client's own work. If
they waited for a plain lock that this thread holds, they would wait for ever.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Any

from distq.core.errors import DistqError


class CalledInside(DistqError, RuntimeError):
    """The thread is in the middle of a call of the same client, which cannot go on before this one returns."""

    code = "CALLED_INSIDE"
    hint = "In a signal handler set a flag, or start a thread for the call."
    exit_code = 2


def owner_check(lock: Any) -> Callable[[], bool]:
    """What tells whether this thread holds a re-entrant lock: the lock's own method, which costs the least."""
    check: Callable[[], bool] = lock._is_owned  # noqa: SLF001 - threading.Condition calls this method, too
    return check


class OwnedLock:
    """A lock for one thread at a time, which raises CalledInside instead of making a thread wait for itself."""

    __slots__ = ("_lock", "is_held", "is_mine")

    def __init__(self) -> None:
        self._lock = threading.RLock()
        """It is re-entrant only because such a lock knows its holder; a thread never takes it twice."""
        self.is_mine = owner_check(self._lock)
        """Whether the current thread holds the lock."""
        self.is_held = False
        """Whether any thread holds the lock; other objects only read it."""

    def acquire(self, timeout_s: float = -1) -> bool:
        """Acquire the lock, for ever if `timeout_s` is negative, without waiting if it is 0; returns whether it did.

        Raises CalledInside if this thread holds the lock already and `timeout_s` is not 0.
        """
        if self.is_mine():
            if timeout_s == 0:
                return False
            raise CalledInside("This call interrupted another one of the same client in this thread.")
        if not (self._lock.acquire(timeout=timeout_s) if timeout_s else self._lock.acquire(blocking=False)):
            return False
        self.is_held = True
        return True

    def release(self) -> None:
        """Release the lock for the next thread."""
        self.is_held = False
        self._lock.release()

    def __enter__(self) -> None:
        self.acquire()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


class Wakeup:
    """Wakes one thread that waits, now or when it waits next; a finalizer or a signal handler may call `set`.

    They must not set a threading.Event: it contains a lock that the interrupted thread may hold.
    """

    __slots__ = ("_asleep",)

    def __init__(self) -> None:
        self._asleep = threading.Lock()
        self._asleep.acquire()

    def set(self) -> None:
        """Wake the thread."""
        if self._asleep.locked():
            with suppress(RuntimeError):  # another thread has woken it in between
                self._asleep.release()

    def wait(self, timeout_s: float | None) -> None:
        """Wait until `set` is called, at most `timeout_s` seconds (None: for ever)."""
        self._asleep.acquire(timeout=-1 if timeout_s is None else max(timeout_s, 0.0))
