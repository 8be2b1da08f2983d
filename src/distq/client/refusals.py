"""Submits that were refused, and whether any code has looked at that."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping
from typing import Any, Final, Protocol

from distq.core.errors import DistqError, PayloadTooLarge, QueueFull, TaskExists, TasksFull, TooManyNames
from distq.core.task_ids import id_text

LOG_EVERY_S: Final = 10.0
"""At most one line in this time says that refused submits were dropped."""

log = logging.getLogger("distq")

_now = time.monotonic  # noqa: TID251 - the edge: how often a line is logged


class RefusedSubmit(DistqError):
    """The master did not take the task; `code` says why."""

    def __init__(self, code: str, sentence: str) -> None:
        super().__init__(sentence)
        self.code = code  # type: ignore[misc] # one word of the master's, not of this class


class RefusedFull(RefusedSubmit, QueueFull):
    """The master refused the task because its queue is full."""

    hint = ""


class RefusedTasksFull(RefusedSubmit, TasksFull):
    """The master refused the task because it keeps as many tasks and results as it may."""

    hint = ""


class RefusedName(RefusedSubmit, TooManyNames):
    """The master refused the task because it would be one queue or task name too many."""

    hint = ""


class RefusedPayload(RefusedSubmit, PayloadTooLarge):
    """The master refused the task because its arguments are larger than the master accepts."""

    hint = ""


class RefusedUnique(RefusedSubmit, TaskExists):
    """The master refused the task because another task of its queue has the unique key."""

    hint = ""

    def __init__(self, other_key: int) -> None:
        self.task_id = id_text(other_key)
        super().__init__(TaskExists.code, f"task {self.task_id} has the unique key. {TaskExists.hint}")


REFUSALS: Final[Mapping[str, type[RefusedSubmit]]] = {
    QueueFull.code: RefusedFull,
    TasksFull.code: RefusedTasksFull,
    TooManyNames.code: RefusedName,
    PayloadTooLarge.code: RefusedPayload,
}
"""The error for each code of a refusal that programs can catch by its class."""


class UnseenRefusal:
    """Stands with the future of a refused submit until a program looks at it."""

    __slots__ = ("_refusals",)

    def __init__(self, refusals: Refusals) -> None:
        self._refusals: Refusals | None = refusals

    def seen(self) -> None:
        """The program has been told."""
        refusals, self._refusals = self._refusals, None
        if refusals is not None:
            refusals.seen()

    def __del__(self) -> None:
        if self._refusals is not None:
            self._refusals.dropped()


class Refusable(Protocol):
    """What a client's refusals need of a future."""

    unseen: UnseenRefusal | None

    @property
    def has_callbacks(self) -> bool:
        """Whether a callback, `wait` or `as_completed` waits for the end of the future."""
        ...


class Refusals:
    """One client's refused submits."""

    def __init__(self) -> None:
        self._lock = threading.RLock()  # a finalizer may run in the thread that holds it
        self.count = 0
        """Submits that were refused, or could not be sent."""
        self._unseen_count = 0
        """Those of them whose error no code has been told."""
        self._dropped_count = 0
        """Those whose futures are gone."""
        self._logged_count = 0
        """Those that a line in the log has told of."""
        self._flushed_count = 0
        self._logged_at = -LOG_EVERY_S
        self._last_error = ""

    def note(self, future: Refusable, error: BaseException) -> None:
        """A submit was refused; its future fails with that error next."""
        with self._lock:
            self.count += 1
            self._last_error = str(error)
            if not future.has_callbacks:
                self._unseen_count += 1
                future.unseen = UnseenRefusal(self)

    def seen(self) -> None:
        """A program was told of one that it had not been told of."""
        with self._lock:
            self._unseen_count -= 1

    def dropped(self) -> None:
        """The last reference to a future is gone, and its error was never asked for."""
        with self._lock:
            self._dropped_count += 1
            if _now() - self._logged_at >= LOG_EVERY_S:
                self._log(self._dropped_count)

    def flushed(self) -> bool:
        """Whether no submit was refused unseen since the last time."""
        with self._lock:
            clean = self._unseen_count <= self._flushed_count
            self._flushed_count = self._unseen_count
            return clean

    def log_unseen(self) -> None:
        """The client ends: say what no code has looked at, and no line has said yet."""
        with self._lock:
            self._log(self._unseen_count)

    def _log(self, unseen: int) -> None:
        count = unseen - self._logged_count
        if count > 0:
            self._logged_count = unseen
            self._logged_at = _now()
            log.warning(
                "%d submits were refused, and no code has looked at their futures. The last: %s",
                count,
                self._last_error,
            )


def refusal_of(answer: Any) -> RefusedSubmit:
    """The error that says why the master did not take a submit."""
    _, code, sentence = answer
    return REFUSALS.get(code, RefusedSubmit)(code, sentence)
