"""What a task raises to say what shall become of it, where a return or an error does not."""

from __future__ import annotations

from datetime import timedelta

from distq.core.ranges import seconds


class _Request(Exception):
    """Pickles by what it was made with, and reads as why."""

    why: str = ""

    def __str__(self) -> str:
        return self.why


class Retry(_Request):
    """Try the task again: the attempt counts as failed, the pause is the task's own.

    When no attempt is left, the task ends as a dead letter, as after any failure.

    Args:
        after: seconds, a timedelta, or a text as in `30s`, until the next attempt; without it the usual growing pause.
        why: for the task's history.
    """

    def __init__(self, after: float | str | timedelta | None = None, why: str = "") -> None:
        super().__init__(after, why)
        self.why = why
        self.after_s = None if after is None else pause_s(after)


class Snooze(_Request):
    """Run the task again later, as if it had not begun: it costs no attempt, however often.

    Args:
        after: seconds, a timedelta, or a text as in `30s`, until it is ready again.
        why: for logs.
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
    """Raised by `distq.current().checkpoint(...)` where the task shall go on elsewhere.

    It is no Exception, so that no `except Exception` keeps it.
    """


def pause_s(after: float | str | timedelta) -> float:
    """A pause in seconds; raises TypeError or ValueError for what is none."""
    return seconds("a pause", after)
