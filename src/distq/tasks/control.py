"""`distq.Retry`, `Snooze`, `Discard` and `Interrupted`: exceptions with which a task controls its own run."""

from __future__ import annotations

from datetime import timedelta

from distq.core.ranges import seconds


class _Request(Exception):
    """The base of these exceptions: its text is the reason, and it pickles by its arguments."""

    why: str = ""

    def __str__(self) -> str:
        return self.why


class Retry(_Request):
    """Try the task again after a pause that the task chooses; the attempt counts as failed.

    When no attempt is left, the task becomes a dead letter, as after any failure: a function without `@distq.task` has
    one attempt, unless its submit has the option `retries`.

    Args:
        after: the duration until the next attempt; by default the pause grows with each attempt.
        why: the reason, for the history of the task.
    """

    def __init__(self, after: float | str | timedelta | None = None, why: str = "") -> None:
        super().__init__(after, why)
        self.why = why
        self.after_s = None if after is None else pause_s(after)


class Snooze(_Request):
    """Run the task again later; this run does not count as an attempt.

    Args:
        after: the duration until the task is ready again.
        why: the reason, for logs.
    """

    def __init__(self, after: float | str | timedelta, why: str = "") -> None:
        super().__init__(after, why)
        self.why = why
        self.after_s = pause_s(after)


class Discard(_Request):
    """End the task as cancelled, with this reason: it is not tried again and does not become a dead letter."""

    def __init__(self, why: str = "") -> None:
        super().__init__(why)
        self.why = why


class Interrupted(BaseException):
    """Raised by `distq.current().checkpoint(...)` when the task must continue in another executor.

    It is not an Exception, so that `except Exception` does not catch it.
    """


def pause_s(after: float | str | timedelta) -> float:
    """A pause in seconds; raises TypeError or ValueError."""
    return seconds("a pause", after)
