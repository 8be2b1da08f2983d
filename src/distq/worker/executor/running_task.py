"""One task of several that run at once: its row, its place on the board, and how it is interrupted."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable
from contextlib import suppress
from contextvars import ContextVar
from typing import TYPE_CHECKING

from distq.worker.executor.tracing import attempt_of

if TYPE_CHECKING:
    from distq.core.task import Headers
    from distq.tasks.tracing import Attempt
    from distq.worker.executor.rows import Envelope, Handed, Leased, Settled


class RunningTask:
    """A task that runs, in a thread or on a loop."""

    __slots__ = (
        "_cancel",
        "_lock",
        "_open",
        "_thread",
        "began_at",
        "cursor",
        "envelope",
        "fenced",
        "headers",
        "number",
        "reason",
        "row",
        "told",
    )

    def __init__(self, number: int, row: Leased, handed: Handed, began_s: float) -> None:
        self.number = number
        self.row = row
        self.envelope: Envelope = handed.envelopes[row[3]]
        self.began_at = began_s
        self.cursor: bytes | None = handed.cursors.get(row[0])
        """What an attempt before has left."""
        self.headers: Headers = handed.headers.get(row[0], ())
        self.fenced = row[0] in handed.fenced
        """Whether it must end with its lease."""
        self.told: dict[int, Settled] = {}
        """What it has said last of its progress and its cursor, by outcome, until that is sent."""
        self.reason: BaseException | None = None
        """Why it is interrupted."""
        self._open = True
        """Whether it can be: not once its own code has ended."""
        self._lock = threading.Lock()
        self._thread: int | None = None
        self._cancel: Callable[[], object] | None = None

    @property
    def limit_s(self) -> float:
        """Its time limit in seconds, 0 for none."""
        return self.envelope[3] or 0.0

    @property
    def attempt(self) -> Attempt:
        """What a trace tells of this run."""
        return attempt_of(self.row, self.envelope, self.headers)

    @property
    def delivery(self) -> tuple[int, int]:
        """The task, and its delivery."""
        return self.row[0], self.row[1]

    def takes_thread(self) -> bool:
        """Its code runs in the present thread from now on; False if it is not to begin any more."""
        with self._lock:
            self._thread, self._cancel = threading.get_ident(), None
            return self.reason is None

    def leaves_thread(self) -> None:
        """Its code is to run elsewhere."""
        with self._lock:
            if self._thread is not None and self.reason is not None:
                _raise_in(self._thread, None)
            self._thread = None

    def takes_loop(self, cancel: Callable[[], object]) -> bool:
        """Its code runs on a loop from now on, where `cancel` interrupts it; False if it is not to begin any more."""
        with self._lock:
            self._cancel = cancel
            return self.reason is None

    def interrupt(self, reason: BaseException) -> None:
        """Raise an exception of this class in its code, or cancel it on its loop; the first reason counts."""
        with self._lock:
            if not self._open or self.reason is not None:
                return
            self.reason = reason
            if self._cancel is not None:
                with suppress(RuntimeError):  # the loop is closed
                    self._cancel()
            elif self._thread is not None:
                _raise_in(self._thread, type(reason))

    def closes(self) -> None:
        """Its code has ended: what was to be raised in it and has not been is forgotten."""
        with self._lock:
            self._open = False
            if self._thread is not None and self.reason is not None:
                _raise_in(self._thread, None)


deliver_interrupts: ContextVar[RunningTask | None] = ContextVar("present", default=None)
"""The task whose code runs here."""


def _raise_in(thread: int, kind: type[BaseException] | None) -> None:
    """Have an exception raised in a thread at its next step in Python; None takes back one that has not been yet.

    https://docs.python.org/3/c-api/init.html#c.PyThreadState_SetAsyncExc
    """
    exception = None if kind is None else ctypes.py_object(kind)
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), exception)
