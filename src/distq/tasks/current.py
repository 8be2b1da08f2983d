"""`distq.current()`: what a running task can read of its own run, and report."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from numbers import Number
from typing import Any, Final, NamedTuple

from distq.core.errors import DistqError
from distq.core.outcome import Outcome
from distq.core.ranges import shown
from distq.tasks.codec import PICKLE
from distq.tasks.control import Interrupted


class NotInTask(DistqError):
    """`distq.current()` was called outside a task."""

    code = "NOT_IN_TASK"
    hint = "Call it in a function that a worker runs; a function that you call directly is not a task."


@dataclass(frozen=True)
class Current:
    """The run of a task in which `distq.current()` was called."""

    id: str
    """The task's id, as logs and the command line show it; the same in every attempt."""
    name: str
    queue: str
    attempt: int
    """The number of this attempt, from 1."""
    delivery: int
    """How often the master has leased the task to a worker, lost deliveries and this one included."""
    deadline: float | None
    """The instant at which the task's time limit ends, in seconds since 1970; None without a limit."""
    cursor: Any = None
    """What an earlier attempt saved with `checkpoint`; None if no attempt has saved anything."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """The task's headers by name: those of the option `headers`, and `traceparent` where the client traces."""
    _report: Callable[[int, bytes], None] = field(default=lambda _, __: None, repr=False, compare=False)
    """Sends progress, a checkpoint or a stream part to the master, with the outcome that it is."""
    _is_shutting_down: Callable[[], bool] = field(default=lambda: False, repr=False, compare=False)
    """Whether the executor is shutting down."""
    _dump: Callable[[Any], bytes] = field(default=PICKLE.dump, repr=False, compare=False)
    """Turns a cursor into bytes."""
    _is_cancelled: Callable[[], bool] = field(default=lambda: False, repr=False, compare=False)
    """Whether the task was cancelled while it runs."""

    def progress(self, fraction: float, text: str = "") -> None:
        """Report how far the task is; `future.progress()` and `distq show` show it while this attempt runs.

        The call does not wait for the master. Of more than twenty reports a second the executor sends only some, always
        with the newest value.

        Args:
            fraction: how much is done, from 0.0 to 1.0.
            text: a short description; the executor sends at most its first 500 characters.

        Raises:
            ValueError: the fraction is not a number from 0 to 1.
        """
        is_number = isinstance(fraction, Number) and not isinstance(fraction, bool | complex)
        if not is_number or not 0 <= fraction <= 1:
            raise ValueError(f"progress is a number from 0 to 1, not {shown(fraction)}")
        self._report(Outcome.PROGRESS, pack_progress(float(fraction), str(text)))

    def checkpoint(self, cursor: Any) -> None:
        """Save a cursor from which a later attempt, which finds it as `current().cursor`, can continue.

        While the executor shuts down (in a deploy, or because its node is drained) the call does not return: it raises
        Interrupted, and the master leases the task to another worker, without counting an attempt. The call does not
        wait for the master. Of more than twenty cursors a second the executor sends only some, always the last one.

        Args:
            cursor: a value that pickle can write, at most 64,000 bytes; in a worker with DISTQ_ACCEPT=json a value that
                JSON can write.

        Raises:
            ValueError: the cursor is too large.
            TypeError: the worker accepts only JSON, and JSON cannot write the cursor.
            Interrupted: the executor is shutting down; do not catch it.
        """
        cursor_bytes = self._dump(cursor)
        if len(cursor_bytes) > CURSOR_BYTES_MAX:
            raise ValueError(f"a cursor has at most {CURSOR_BYTES_MAX:,} bytes, not {len(cursor_bytes):,}")
        self._report(Outcome.CHECKPOINT, cursor_bytes)
        if self._is_shutting_down():
            raise Interrupted("the executor is shutting down, and the task continues in another one.")


class Progress(NamedTuple):
    """How far a running task is, by its last report."""

    fraction: float
    """How much is done, from 0.0 to 1.0."""
    text: str
    """The task's own description; '' if it gave none."""


TEXT_CHARS_MAX: Final = 500
"""Maximum characters of a progress text; the master keeps the text of every running task in memory."""
CURSOR_BYTES_MAX: Final = 64_000
"""Maximum bytes of a cursor; the master stores the cursor of every task."""


def pack_progress(fraction: float, text: str) -> bytes:
    """A progress report in JSON, which the master shows without unpickling anything."""
    valid_text = text[:TEXT_CHARS_MAX].encode(errors="replace").decode()
    return json.dumps([float(fraction), valid_text], ensure_ascii=False).encode()


find_current: Callable[[], Current | None] | None = None
"""Finds the run in which it is called; set by the executor, None in every other process."""


def current() -> Current:
    """The run of the task in which this is called.

    Raises:
        NotInTask: no task runs here.
    """
    found = None if find_current is None else find_current()
    if found is None:
        raise NotInTask("No task runs here.")
    return found


def report_of(run: Current) -> Callable[[int, bytes], None]:
    """The function with which the executor sends the stream parts of a run."""
    return run._report  # noqa: SLF001 - programs do not see it, the executor does


def is_interrupted() -> bool:
    """Whether the task that runs here was cancelled, its executor is shutting down, or no task runs here."""
    run = None if find_current is None else find_current()
    return run is None or run._is_shutting_down() or run._is_cancelled()  # noqa: SLF001 - as above
