"""The options of a task: how it is queued, when it runs, how it is tried; each checked where it is given."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

from distq.core.head import NAME_BYTES_MAX, TASK_NAME_BYTES_MAX
from distq.core.ranges import headers, instant, labels, seconds, shown, text, whole
from distq.core.schedule import CATCH_UPS, CRON_BYTES_MAX, ZONE_BYTES_MAX
from distq.core.task import EXECUTORS, FAILURE_POLICIES, KEY_BYTES_MAX, Headers
from distq.protocol.submit import CONFLICTS, REPLACE

_now = time.time  # noqa: TID251 - the edge: an instant is refused where it is given

QUEUE_DEFAULT: Final = "default"
BLOCK, RAISE = "block", "raise"
NEEDED: Final = {
    "concurrency_key": ("concurrency",),
    "unique_key": ("on_conflict", "unique_for", "debounce"),
    "cron": ("timezone",),
}
"""Options that say nothing without another."""
SUBMIT, SCHEDULE, CHAIN = "submit", "schedule", "chain"
USES: Final[Mapping[str, tuple[tuple[str, ...], str]]] = {
    **dict.fromkeys(
        ("every", "cron", "timezone", "overlap", "catch_up"),
        ((SCHEDULE,), "It is an option of a schedule: call `schedule`, or leave it out."),
    ),
    "full": ((SUBMIT, CHAIN), "The master submits the tasks of a schedule: leave it out."),
    "on_failure": ((CHAIN,), "It is an option of a task that comes after another one: call `chain`, or leave it out."),
}
"""Which calls of a client use an option that not all of them use, and what to do instead."""
OF_CODE: Final = ("retry_for", "no_retry_for")
"""The options that the worker reads in its own copy of the code; they do not travel with a task."""
NAMES: Final = {"queue": NAME_BYTES_MAX, "cron": CRON_BYTES_MAX, "timezone": ZONE_BYTES_MAX}
"""The options that are texts, each with its limit in bytes."""


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
    """The options with these changes; raises TypeError or ValueError for a name or a value that is none."""
    unknown = sorted(changes.keys() - CHECKS.keys())
    if unknown:
        raise TypeError(f"there is no option {shown(unknown[0])}; there is {', '.join(CHECKS)}")
    given = {name: CHECKS[name](name, value) for name, value in changes.items() if value is not None}
    return before._replace(**given)


def checked_to_send(options: Mapping[str, Any]) -> None:
    """Raise TypeError or ValueError if a client cannot send one of these options with a task."""
    for word in OF_CODE:
        if options.get(word) is not None:
            raise TypeError(
                f"{word} does not travel with a task: the worker reads it in the code. "
                f"Give it to the decorator, @distq.task({word}=...)."
            )
    checked(Options(), options)


def used(options: Mapping[str, Any], call: str) -> Mapping[str, Any]:
    """The options of a client as they are; raises TypeError if this call of it would ignore one of them."""
    for word, (calls, hint) in USES.items():
        if call not in calls and options.get(word) is not None:
            raise TypeError(f"{word} has no effect on `{call}`. {hint}")
    return options


def coherent(options: Options) -> Options:
    """The options that a task is submitted with, as they are; raises TypeError where one needs another."""
    for needed, words in NEEDED.items():
        for word in words:
            if getattr(options, word) is not None and getattr(options, needed) is None:
                raise TypeError(f"{word} needs {needed} too")
    if options.debounce is not None and (options.delay is not None or options.on_conflict not in (None, REPLACE)):
        raise TypeError("debounce is a delay, and replaces: it takes neither delay nor on_conflict beside it")
    return options


def task_name(name: Any) -> str:
    """The name of a task as it is given in the place of a function; raises TypeError or ValueError."""
    if isinstance(name, str) and not name.strip():
        raise ValueError(f"a task's name is a text, as in 'module:function', not {shown(name)}")
    return text("a task's name", name, TASK_NAME_BYTES_MAX)


def _name(field: str, value: Any) -> str:
    return text(field, value, NAMES[field])


def _moment(field: str, value: Any) -> float:
    return instant(field, value, _now())


def _executor(field: str, value: Any) -> str:
    if value not in EXECUTORS:
        raise TypeError(f"{field} is {' or '.join(EXECUTORS)}, not {shown(value)}")
    return str(value)


def _key(field: str, value: Any) -> str | Callable[..., str]:
    if callable(value):
        key: Callable[..., str] = value
        return key
    try:
        return text(field, value, KEY_BYTES_MAX)
    except (TypeError, ValueError) as error:
        raise type(error)(f"{error}; or it is a function of the task's arguments that returns such a text") from error


def _conflict(field: str, value: Any) -> str:
    if value not in CONFLICTS:
        raise TypeError(f"{field} is {', '.join(CONFLICTS[:-1])} or {CONFLICTS[-1]}, not {shown(value)}")
    return str(value)


def _flag(field: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError(f"{field} is True or False, not {shown(value)}")
    return value


def _catch_up(field: str, value: Any) -> str:
    if value not in CATCH_UPS:
        raise TypeError(f"{field} is {', '.join(CATCH_UPS[:-1])} or {CATCH_UPS[-1]}, not {shown(value)}")
    return str(value)


def _full(field: str, value: Any) -> float | str:
    if value in (BLOCK, RAISE):
        return str(value)
    try:
        return seconds(field, value)
    except (TypeError, ValueError) as error:
        raise type(error)(f"{field} is {BLOCK!r}, {RAISE!r} or a duration; {error}") from error


def _on_failure(field: str, value: Any) -> str:
    if value not in FAILURE_POLICIES:
        raise TypeError(f"{field} is {', '.join(FAILURE_POLICIES[:-1])} or {FAILURE_POLICIES[-1]}, not {shown(value)}")
    return str(value)


def _exceptions(field: str, value: Any) -> tuple[type[BaseException], ...]:
    kinds = value if isinstance(value, tuple) else (value,)
    if not all(isinstance(kind, type) and issubclass(kind, BaseException) for kind in kinds):
        raise TypeError(f"{field} takes exception classes, not {shown(kinds)}")
    return kinds


CHECKS: Final[Mapping[str, Callable[[str, Any], Any]]] = {
    "queue": _name,
    "priority": whole,
    "retries": whole,
    "time_limit": seconds,
    "result_ttl": seconds,
    "max_deliveries": whole,
    "delay": seconds,
    "eta": _moment,
    "expires": seconds,
    "requires": labels,
    "cost": whole,
    "executor": _executor,
    "concurrency_key": _key,
    "concurrency": whole,
    "unique_key": _key,
    "on_conflict": _conflict,
    "unique_for": seconds,
    "debounce": seconds,
    "full": _full,
    "every": seconds,
    "cron": _name,
    "timezone": _name,
    "overlap": _flag,
    "catch_up": _catch_up,
    "headers": headers,
    "on_failure": _on_failure,
    "retry_for": _exceptions,
    "no_retry_for": _exceptions,
}
"""What makes of a given value, never None, the option's; raises TypeError or ValueError."""
