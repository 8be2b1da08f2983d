"""A client's refused submits: their errors, and the log message for refusals that the program has not looked at."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping
from typing import Final, Protocol

from distq.core.errors import DistqError, PayloadTooLarge, QueueFull, TaskExists, TasksFull, TooManyNames
from distq.core.plurals import counted
from distq.core.schedule import BadSchedule
from distq.core.task_ids import id_text
from distq.protocol.submit import SubmitRefused

LOG_EVERY_S: Final = 10.0
"""Minimum seconds between two log messages about refused submits whose futures were dropped."""

log = logging.getLogger("distq")

_now = time.monotonic  # noqa: TID251 - the edge: how often a message is logged


class RefusedSubmit(DistqError):
    """The master refused the task; `code` is the master's reason."""

    def __init__(self, code: str, sentence: str) -> None:
        super().__init__(sentence)
        self.code = code  # type: ignore[misc] # the master's code, not that of this class


class RefusedFull(RefusedSubmit, QueueFull):
    """The master refused the task because its queue is full."""

    hint = ""


class RefusedTasksFull(RefusedSubmit, TasksFull):
    """The master refused the task because it keeps as many tasks and results as it may."""

    hint = ""


class RefusedName(RefusedSubmit, TooManyNames):
    """The master refused the task because its queue or name is new, and the master has the maximum of names."""

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


class ScheduleRefused(BadSchedule):
    """The master refused a schedule; the text is the master's reason."""

    hint = ""


REFUSALS: Final[Mapping[str, type[RefusedSubmit]]] = {
    QueueFull.code: RefusedFull,
    TasksFull.code: RefusedTasksFull,
    TooManyNames.code: RefusedName,
    PayloadTooLarge.code: RefusedPayload,
}
"""The error class for each refusal code that programs can catch by class."""


class UnseenRefusal:
    """Marks the future of a refused submit until the program looks at its error."""

    __slots__ = ("_refusals",)

    def __init__(self, refusals: Refusals) -> None:
        self._refusals: Refusals | None = refusals

    def seen(self) -> None:
        """Note that the program has looked at the error."""
        refusals, self._refusals = self._refusals, None
        if refusals is not None:
            refusals.seen()

    def __del__(self) -> None:
        if self._refusals is not None:
            self._refusals.dropped()


class Refusable(Protocol):
    """The attributes of a future that `Refusals` uses."""

    unseen: UnseenRefusal | None

    @property
    def has_callbacks(self) -> bool:
        """Whether a callback, `wait` or `as_completed` waits for the end of the future."""
        ...


class Refusals:
    """Counts one client's refused submits, and logs those that the program has not looked at."""

    def __init__(self) -> None:
        self._lock = threading.RLock()  # a finalizer may run in the thread that holds it
        self.count = 0
        """The number of submits that were refused or could not be sent."""
        self._unseen_count = 0
        """The number of refused submits whose error the program has not looked at."""
        self._dropped_count = 0
        """The number of such submits whose futures do not exist any more."""
        self._logged_count = 0
        """The number of such submits that a log message has reported."""
        self._flushed_count = 0
        self._logged_at = -LOG_EVERY_S
        self._last_error = ""

    def note(self, future: Refusable, error: BaseException) -> None:
        """Count a refused submit; the caller fails its future with that error next."""
        with self._lock:
            self.count += 1
            self._last_error = str(error)
            if not future.has_callbacks:
                self._unseen_count += 1
                future.unseen = UnseenRefusal(self)

    def seen(self) -> None:
        """Count that the program has looked at the error of one more refused submit."""
        with self._lock:
            self._unseen_count -= 1

    def dropped(self) -> None:
        """Count a future whose last reference is gone, and whose error the program never looked at."""
        with self._lock:
            self._dropped_count += 1
            if _now() - self._logged_at >= LOG_EVERY_S:
                self._log(self._dropped_count)

    def flushed(self) -> bool:
        """Whether every submit refused since the last call of this method has been looked at by the program."""
        with self._lock:
            clean = self._unseen_count <= self._flushed_count
            self._flushed_count = self._unseen_count
            return clean

    def log_unseen(self) -> None:
        """Log, when the client ends, the refused submits that the program has not looked at and no message reported."""
        with self._lock:
            self._log(self._unseen_count)

    def _log(self, unseen: int) -> None:
        count = unseen - self._logged_count
        if count > 0:
            self._logged_count = unseen
            self._logged_at = _now()
            log.warning(
                "%s refused, and no code has looked at the outcome. The last: %s",
                counted(count, "submit"),
                self._last_error,
            )


def refusal_of(answer: SubmitRefused) -> RefusedSubmit:
    """The error for the master's answer that refuses a submit."""
    return REFUSALS.get(answer.code, RefusedSubmit)(*answer)
