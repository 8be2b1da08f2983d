"""What a task raises to say what shall become of it, where a return or an error does not."""

from __future__ import annotations

from datetime import timedelta


class _Asked(Exception):
    """Pickles by what it was made with, and reads as why."""

    why: str = ""

    def __str__(self) -> str:
        return self.why


class Retry(_Asked):
    """Try the task again: the attempt counts as failed, the pause is the task's own.

    When no attempt is left, the task ends as a dead letter, as after any failure.

    Args:
        after: seconds, or a timedelta, until the next attempt; without it the usual growing pause.
        why: for the task's history.
    """

    def __init__(self, after: float | timedelta | None = None, why: str = "") -> None:
        super().__init__(after, why)
        self.why = why
        self.after_s = None if after is None else pause_s(after)


class Snooze(_Asked):
    """Run the task again later, as if it had not begun: it costs no attempt, however often.

    Args:
        after: seconds, or a timedelta, until it is ready again.
        why: for logs.
    """

    def __init__(self, after: float | timedelta, why: str = "") -> None:
        super().__init__(after, why)
        self.why = why
        self.after_s = pause_s(after)


class Discard(_Asked):
    """Nobody needs the task any more: it ends as cancelled, with this reason, and is no dead letter."""

    def __init__(self, why: str = "") -> None:
        super().__init__(why)
        self.why = why


class Interrupted(BaseException):
    """Raised by `distq.current().checkpoint(...)` where the task shall go on elsewhere.

    It is no Exception, so that no `except Exception` keeps it.
    """


def pause_s(after: float | timedelta) -> float:
    """A pause in seconds; raises TypeError or ValueError for what is none."""
    seconds = after.total_seconds() if isinstance(after, timedelta) else after
    if isinstance(seconds, bool) or not isinstance(seconds, int | float):
        raise TypeError(f"a pause is a number of seconds or a timedelta, not {after!r}")
    if not 0 <= seconds < float("inf"):
        raise ValueError(f"a pause is 0 s or longer, not {after!r}")
    return float(seconds)
