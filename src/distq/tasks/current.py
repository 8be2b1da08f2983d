"""The task that runs here: what a function can learn of its own run."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from distq.core.errors import DistqError
from distq.core.ranges import shown
from distq.core.task import Outcome
from distq.tasks.codec import PICKLE
from distq.tasks.control import Interrupted


class NotInTask(DistqError):
    """`distq.current()` was called outside a task."""

    code = "NOT_IN_TASK"
    hint = "Call it in a function that a worker runs; a function that is called directly is no task."


@dataclass(frozen=True)
class Current:
    """One run of a task, as its function sees it."""

    id: str
    """The task's id, as logs and the command line have it; the same in every attempt."""
    name: str
    queue: str
    attempt: int
    """From 1."""
    delivery: int
    """How often the task was handed to a worker, this time and those that were lost included."""
    deadline: float | None
    """When its time limit ends, in seconds since 1970, None without one."""
    cursor: Any = None
    """What an attempt before this one has left by `checkpoint`; None at first."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """What travels with the task, by name: what the option `headers` has put there, `traceparent` of its trace."""
    tell: Callable[[int, bytes], None] = field(default=lambda _, __: None, repr=False, compare=False)
    """Passes on what the task says while it runs, by outcome; set by the executor."""
    is_to_end: Callable[[], bool] = field(default=lambda: False, repr=False, compare=False)
    """Whether the executor is to end; set by it."""
    dump: Callable[[Any], bytes] = field(default=PICKLE.dump, repr=False, compare=False)
    """Makes bytes of a cursor; set by the executor."""
    is_stopped: Callable[[], bool] = field(default=lambda: False, repr=False, compare=False)
    """Whether the task was cancelled while it runs; set by the executor."""

    def progress(self, fraction: float, text: str = "") -> None:
        """Say how far the task is: `future.progress()` and `distq show` tell it while this attempt runs.

        It costs next to nothing and waits for nobody: what is said more often than twenty times a second is only
        sent in part, the newest each time.

        Args:
            fraction: from 0.0 to 1.0.
            text: a few words; the first 500 characters are kept.

        Raises:
            ValueError: the fraction is not one.
        """
        if isinstance(fraction, bool) or not isinstance(fraction, int | float) or not 0 <= fraction <= 1:
            raise ValueError(f"progress is a number from 0 to 1, not {shown(fraction)}")
        self.tell(Outcome.PROGRESS, pack_progress(fraction, str(text)))

    def checkpoint(self, cursor: Any) -> None:
        """Save how far the task has come: an attempt after this one finds it in `cursor`, and goes on there.

        Where the executor is to end (a deploy, a node that is drained) this does not return: the task is handed back,
        at the cost of no attempt, and goes on elsewhere. It costs next to nothing and waits for nobody: of what is
        saved more often than twenty times a second the newest is kept each time, and always the last.

        Args:
            cursor: anything that can be pickled, of at most 64 kB; in a worker that takes JSON only, what JSON can say.

        Raises:
            ValueError: the cursor is too large.
            TypeError: the worker takes JSON only, and the cursor is none.
            Interrupted: the executor is to end. Let it pass.
        """
        pickled = self.dump(cursor)
        if len(pickled) > CURSOR_BYTES_MAX:
            raise ValueError(f"a cursor has at most {CURSOR_BYTES_MAX:,} bytes, not {len(pickled):,}")
        self.tell(Outcome.CHECKPOINT, pickled)
        if self.is_to_end():
            raise Interrupted("the executor is to end, and the task goes on elsewhere.")


class Progress(NamedTuple):
    """How far a task that runs is, as it has said last."""

    fraction: float
    """From 0.0 to 1.0."""
    text: str


TEXT_CHARS_MAX: Final = 500
CURSOR_BYTES_MAX: Final = 64_000


def pack_progress(fraction: float, text: str) -> bytes:
    """How far a task is, in JSON: the master shows it and makes nothing of it."""
    words = text[:TEXT_CHARS_MAX].encode(errors="replace").decode()
    return json.dumps([float(fraction), words], ensure_ascii=False).encode()


teller: Callable[[], Current | None] | None = None
"""Knows what runs; set by the executor."""


def current() -> Current:
    """The task that runs in this process.

    Raises:
        NotInTask: none does.
    """
    found = None if teller is None else teller()
    if found is None:
        raise NotInTask("No task runs here.")
    return found
