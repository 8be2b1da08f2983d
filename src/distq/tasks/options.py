"""The options of a task: how it is queued, when it runs, how it is tried; each checked where it is given."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple

from distq.core.schedule import CATCH_UPS
from distq.core.task import EXECUTORS, FAILURE_POLICIES, HEADERS_BYTES_MAX, HEADERS_MAX, Headers

QUEUE_DEFAULT: Final = "default"
REJECT, RETURN, REPLACE = "reject", "return", "replace"
CONFLICTS: Final = (REJECT, RETURN, REPLACE)
BLOCK, RAISE = "block", "raise"
NEEDED: Final = {
    "concurrency_key": ("concurrency",),
    "unique_key": ("on_conflict", "unique_for", "debounce"),
    "cron": ("timezone",),
}
"""Options that say nothing without another."""


class Options(NamedTuple):
    """How a task is queued and tried; None leaves it to the master's settings. Times are seconds."""

    queue: str = QUEUE_DEFAULT
    priority: int | None = None
    retries: int | None = None
    time_limit: float | None = None
    result_ttl: float | None = None
    max_deliveries: int | None = None
    delay: float | None = None
    """Ready only so long after the master has taken it."""
    eta: float | None = None
    """Ready only from this moment on, in seconds since 1970 of the master's clock."""
    expires: float | None = None
    """Not begun any more so long after the master has taken it."""
    requires: tuple[str, ...] | None = None
    """Labels that a worker must have to run it."""
    cost: int | None = None
    """How many of a worker's slots it takes; one if nothing is said."""
    executor: str | None = None
    """What kind of executor runs it, process or thread; any if none is named."""
    concurrency_key: str | Callable[..., str] | None = None
    """Of one key on one queue at most `concurrency` tasks run at once; a callable makes it of the task's arguments."""
    concurrency: int | None = None
    unique_key: str | Callable[..., str] | None = None
    """Of one key on one queue there is at most one task; a callable makes it of the task's arguments."""
    on_conflict: str | None = None
    """What becomes of a task whose unique key another has: reject, return (the other's future), replace the other."""
    unique_for: float | None = None
    """The unique key is kept for so long after the submit, not until the task has ended."""
    debounce: float | None = None
    """Run once no task of the same unique key was submitted for so long: replaces the waiting one, and delays."""
    full: float | str | None = None
    """What `submit` does while the queue is full: raise, block, or block for so many seconds and then raise."""
    every: float | None = None
    """`schedule` submits a task so often, ..."""
    cron: str | None = None
    """... or whenever this cron line of five fields says so, by the clocks of ..."""
    timezone: str | None = None
    """... this time zone; UTC if none is named."""
    overlap: bool | None = None
    """Whether a schedule submits a task although the one before has not ended."""
    catch_up: str | None = None
    """What becomes of a schedule's moments that were missed: one task for all of them (the default), all, none."""
    headers: Headers | None = None
    """What travels with a task, by name: `current().headers` has it where the task runs, `distq show` tells it."""
    on_failure: str | None = None
    """What becomes of a task in a chain or after a group if one before it fails: it fails too and is a dead letter
    (the default), it is cancelled, or it is run with the exception in the place of the result."""
    retry_for: tuple[type[BaseException], ...] = ()
    """Only these are tried again; empty means all."""
    no_retry_for: tuple[type[BaseException], ...] = ()
    """These never are."""

    def retries_after(self, error: BaseException) -> bool:
        """Whether an attempt that raised `error` is followed by another, if any is left."""
        if self.no_retry_for and isinstance(error, self.no_retry_for):
            return False
        return not self.retry_for or isinstance(error, self.retry_for)


def checked(before: Options, changes: Mapping[str, Any]) -> Options:
    """The options with these changes; raises TypeError for a name or a value that is none."""
    unknown = sorted(changes.keys() - CHECKS.keys())
    if unknown:
        raise TypeError(f"there is no option {unknown[0]!r}; there is {', '.join(CHECKS)}")
    given = {name: CHECKS[name](name, value) for name, value in changes.items() if value is not None}
    return before._replace(**given)


def coherent(options: Options) -> Options:
    """The options that a task is submitted with, as they are; raises TypeError where one needs another."""
    for needed, words in NEEDED.items():
        for word in words:
            if getattr(options, word) is not None and getattr(options, needed) is None:
                raise TypeError(f"{word} needs {needed} too")
    if options.debounce is not None and (options.delay is not None or options.on_conflict not in (None, REPLACE)):
        raise TypeError("debounce is a delay, and replaces: it takes neither delay nor on_conflict beside it")
    return options


def _name(field: str, value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise TypeError(f"{field} is a name, not {value!r}")
    return value


def _whole(field: str, value: Any) -> int:
    if not isinstance(value, int) or value < 0:
        raise TypeError(f"{field} is a whole number from 0, not {value!r}")
    return value


def _priority(field: str, value: Any) -> int:
    if _whole(field, value) > 9:
        raise TypeError(f"{field} is 0 to 9, 9 first, not {value!r}")
    return int(value)


def _seconds(field: str, value: Any) -> float:
    seconds = value.total_seconds() if isinstance(value, timedelta) else value
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 < seconds < float("inf"):
        raise TypeError(f"{field} is a number of seconds above 0, or a timedelta, not {value!r}")
    return seconds


def _moment(field: str, value: Any) -> float:
    if isinstance(value, datetime) and value.tzinfo is None:
        raise TypeError(f"{field} is a datetime with a time zone, not {value!r}: add one, as in datetime.now(UTC)")
    at = value.timestamp() if isinstance(value, datetime) else value
    if isinstance(at, bool) or not isinstance(at, int | float) or not 0 < at < float("inf"):
        raise TypeError(f"{field} is a datetime with a time zone, or seconds since 1970, not {value!r}")
    return float(at)


def _labels(field: str, value: Any) -> tuple[str, ...]:
    labels = (value,) if isinstance(value, str) else tuple(value)
    if not labels or not all(isinstance(one, str) and one and "," not in one for one in labels):
        raise TypeError(f"{field} is a label or several, as in ('gpu', 'eu'), not {value!r}")
    return tuple(sorted(labels))


def _executor(field: str, value: Any) -> str:
    if value not in EXECUTORS:
        raise TypeError(f"{field} is {' or '.join(EXECUTORS)}, not {value!r}")
    return str(value)


def _key(field: str, value: Any) -> str | Callable[..., str]:
    if not callable(value) and not (isinstance(value, str) and value):
        raise TypeError(f"{field} is a text, or a function of the task's arguments that returns one, not {value!r}")
    key: str | Callable[..., str] = value
    return key


def _at_least_one(field: str, value: Any) -> int:
    if isinstance(value, bool) or _whole(field, value) < 1:
        raise TypeError(f"{field} is a whole number from 1, not {value!r}")
    return int(value)


def _conflict(field: str, value: Any) -> str:
    if value not in CONFLICTS:
        raise TypeError(f"{field} is {', '.join(CONFLICTS[:-1])} or {CONFLICTS[-1]}, not {value!r}")
    return str(value)


def _flag(field: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError(f"{field} is True or False, not {value!r}")
    return value


def _catch_up(field: str, value: Any) -> str:
    if value not in CATCH_UPS:
        raise TypeError(f"{field} is {', '.join(CATCH_UPS[:-1])} or {CATCH_UPS[-1]}, not {value!r}")
    return str(value)


def _full(field: str, value: Any) -> float | str:
    if value in (BLOCK, RAISE):
        return str(value)
    if isinstance(value, str):
        raise TypeError(f"{field} is {BLOCK!r}, {RAISE!r} or a number of seconds, not {value!r}")
    return _seconds(field, value)


def _headers(field: str, value: Any) -> Headers:
    headers = tuple(dict(value).items())
    if not all(isinstance(name, str) and name and isinstance(text, str) for name, text in headers):
        raise TypeError(f"{field} are texts by their names, as in {{'tenant': 'acme'}}, not {value!r}")
    size_bytes = sum(len(name.encode()) + len(text.encode()) for name, text in headers)
    if len(headers) > HEADERS_MAX or size_bytes > HEADERS_BYTES_MAX:
        raise TypeError(f"{field} are at most {HEADERS_MAX}, of {HEADERS_BYTES_MAX:,} bytes together")
    return headers


def _on_failure(field: str, value: Any) -> str:
    if value not in FAILURE_POLICIES:
        raise TypeError(f"{field} is {', '.join(FAILURE_POLICIES[:-1])} or {FAILURE_POLICIES[-1]}, not {value!r}")
    return str(value)


def _exceptions(field: str, value: Any) -> tuple[type[BaseException], ...]:
    kinds = value if isinstance(value, tuple) else (value,)
    if not all(isinstance(kind, type) and issubclass(kind, BaseException) for kind in kinds):
        raise TypeError(f"{field} takes exception classes, not {kinds!r}")
    return kinds


CHECKS: Final[Mapping[str, Callable[[str, Any], Any]]] = {
    "queue": _name,
    "priority": _priority,
    "retries": _whole,
    "time_limit": _seconds,
    "result_ttl": _seconds,
    "max_deliveries": _whole,
    "delay": _seconds,
    "eta": _moment,
    "expires": _seconds,
    "requires": _labels,
    "cost": _at_least_one,
    "executor": _executor,
    "concurrency_key": _key,
    "concurrency": _at_least_one,
    "unique_key": _key,
    "on_conflict": _conflict,
    "unique_for": _seconds,
    "debounce": _seconds,
    "full": _full,
    "every": _seconds,
    "cron": _name,
    "timezone": _name,
    "overlap": _flag,
    "catch_up": _catch_up,
    "headers": _headers,
    "on_failure": _on_failure,
    "retry_for": _exceptions,
    "no_retry_for": _exceptions,
}
"""What makes of a given value, never None, the option's; raises TypeError."""
