"""A `concurrent.futures.Future` that makes its condition, waiters and callbacks when a thread first needs them.

A standard future makes a condition, and with it a lock and a deque, for a wait that most tasks never need: 1.6 kB and
3 µs each.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, TypeVar

from distq.client.future_state import FutureState
from distq.client.locks import owner_check

R = TypeVar("R")


class _Shared:
    """What all futures of a process share."""

    lock = threading.RLock()
    """Held while a future's condition is made, and while a result is set on a future that has none."""
    is_mine = owner_check(lock)


class LazyFuture(FutureState[R], Future[R]):
    """A future without a lock of its own until a thread waits for it."""

    _own_condition: threading.Condition | None = None
    _own_waiters: list[Any] | None = None
    _own_callbacks: list[Callable[[Future[R]], object]] | None = None

    # Future.__init__ is not called: it makes what this class makes when it is needed, and sets what the class has.

    def __init__(self) -> None:
        """Make nothing."""

    if not TYPE_CHECKING:  # for type checkers they are the attributes that every future has

        @property
        def _condition(self) -> threading.Condition:
            # Every method of the base class that waits for a future, or looks at its state, reads this first.
            self._check_fork()
            condition = self._own_condition
            if condition is None:
                with _Shared.lock:
                    condition = self._own_condition
                    if condition is None:
                        condition = self._own_condition = threading.Condition()
            return condition

        @property
        def _waiters(self) -> list[Any]:
            if self._own_waiters is None:
                self._own_waiters = []
            return self._own_waiters

        @_waiters.setter
        def _waiters(self, waiters: list[Any]) -> None:
            self._own_waiters = waiters

        @property
        def _done_callbacks(self) -> list[Callable[[Future[R]], object]]:
            if self._own_callbacks is None:
                self._own_callbacks = []
            return self._own_callbacks

    def _check_fork(self) -> None:
        """Called before a future is waited for or looked at; a subclass ends one that a fork has copied."""

    @property
    def has_callbacks(self) -> bool:
        """Whether a callback, `wait` or `as_completed` waits for the end of the future."""
        return bool(self._own_callbacks or self._own_waiters)


def shared_lock() -> threading.RLock:
    """The lock that guards every future without a condition of its own."""
    return _Shared.lock


def renew_lock() -> None:
    """Replace the lock after a fork: another thread of the parent process may have held it."""
    _Shared.lock = threading.RLock()
    _Shared.is_mine = owner_check(_Shared.lock)


def is_settling_here() -> bool:
    """Whether this thread is setting outcomes at this time."""
    return _Shared.is_mine()
