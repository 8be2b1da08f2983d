"""The options of a task: how it is queued, when it runs, how often it is tried. Each is checked where it is given."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple, TypedDict

from distq.core.constraints import FAILURE_POLICIES, KEY_BYTES_MAX, Headers
from distq.core.head import new_queue_name, new_task_name
from distq.core.option_values import EXECUTORS
from distq.core.ranges import headers, instant, labels, plain_text, seconds, shown, text, whole
from distq.core.schedule import CATCH_UPS, CRON_BYTES_MAX, ZONE_BYTES_MAX
from distq.protocol.submit import CONFLICTS, REPLACE

_now = time.time  # noqa: TID251 - the edge: an instant is refused where it is given

QUEUE_DEFAULT: Final = "default"
BLOCK, RAISE = "block", "raise"
NEEDED: Final = {
    "concurrency_key": ("concurrency",),
    "unique_key": ("on_conflict", "unique_for", "debounce"),
    "cron": ("timezone",),
}
"""The options that have no effect without the option by which they are listed."""
SUBMIT, SCHEDULE, CHAIN = "submit", "schedule", "chain"
USES: Final[Mapping[str, tuple[tuple[str, ...], str]]] = {
    **dict.fromkeys(
        ("every", "cron", "timezone", "overlap", "catch_up"),
        ((SCHEDULE,), "It is an option of a schedule: call `schedule`, or leave it out."),
    ),
    "full": ((SUBMIT, CHAIN), "The master submits the tasks of a schedule: leave it out."),
    "on_failure": ((CHAIN,), "It is an option of a task with dependencies: call `chain`, or leave it out."),
}
"""The calls of a client that use an option, where not all of them do, and what to do instead."""
OF_CODE: Final = ("retry_for", "no_retry_for")
"""The options that a worker reads in its own copy of the code; a client does not send them."""
NAMES: Final = {"cron": CRON_BYTES_MAX, "timezone": ZONE_BYTES_MAX}
"""Maximum bytes in UTF-8 of each option that is a text; the master stores them with every task."""

Duration = float | str | timedelta
"""Seconds, a text such as `30s` or `1h30m`, or a timedelta."""
Key = str | Callable[..., str]
Exceptions = type[BaseException] | tuple[type[BaseException], ...]


class SubmitKeywords(TypedDict, total=False):
    """The keywords of `client.options` and `call.options`; None is the same as leaving a keyword out."""

    queue: str | None
    priority: int | None
    retries: int | None
    time_limit: Duration | None
    result_ttl: Duration | None
    max_deliveries: int | None
    delay: Duration | None
    eta: float | datetime | None
    expires: Duration | None
    requires: str | Sequence[str] | None
    cost: int | None
    executor: str | None
    concurrency_key: Key | None
    concurrency: int | None
    unique_key: Key | None
    on_conflict: str | None
    unique_for: Duration | None
    debounce: Duration | None
    full: Duration | None
    every: Duration | None
    cron: str | None
    timezone: str | None
    overlap: bool | None
    catch_up: str | None
    headers: Mapping[str, str] | None
    on_failure: str | None


class TaskKeywords(SubmitKeywords, total=False):
    """The keywords of `@distq.task`: also those that a worker reads in its own copy of the code."""

    retry_for: Exceptions | None
    no_retry_for: Exceptions | None


class Options(NamedTuple):
    """The options of a task as they are sent; None leaves an option to the master."""

    queue: str = QUEUE_DEFAULT
    """The queue that the master puts the task into: a name of at most 64 bytes without commas and line breaks."""
    priority: int | None = None
    """From 0 to 9; tasks of a queue with a higher priority are leased first. Default: 5."""
    retries: int | None = None
    """How often a task that failed is tried again. Default: DISTQ_RETRIES; 0 for a function without `@distq.task`."""
    time_limit: float | None = None
    """How long an attempt may run. At the limit the executor raises TimeLimitExceeded in the task, so that it can clean
    up; the worker kills the executor if the task still runs 2 s later. Default: DISTQ_TIME_LIMIT."""
    result_ttl: float | None = None
    """How long the master keeps the result after the end of the task. Default: DISTQ_RESULT_TTL_S."""
    max_deliveries: int | None = None
    """The number of lost deliveries at which the task becomes a dead letter. A delivery is lost if its executor or its
    worker ends, or its lease expires, while the task runs; a failed attempt does not count.
    Default: DISTQ_MAX_DELIVERIES."""
    delay: float | None = None
    """How long after its submit the task becomes ready."""
    eta: float | None = None
    """The instant at which the task becomes ready: a datetime with a time zone, or seconds since 1970."""
    expires: float | None = None
    """How long after its submit the task expires, unless an executor has begun it."""
    requires: tuple[str, ...] | None = None
    """Labels, all of which a worker must have to run the task."""
    cost: int | None = None
    """How many slots of a worker the task takes. Default: 1."""
    executor: str | None = None
    """The kind of executor that the task needs: `process` or `thread`. Default: any."""
    concurrency_key: str | Callable[..., str] | None = None
    """A text, or a function of the task's arguments that returns one; at most `concurrency` tasks of a queue with the
    same key run at the same time."""
    concurrency: int | None = None
    """How many tasks with the same `concurrency_key` run at the same time. Default: 1."""
    unique_key: str | Callable[..., str] | None = None
    """A text, or a function of the task's arguments that returns one; a queue holds at most one task of a key."""
    on_conflict: str | None = None
    """What happens if another task has the unique key: `reject` raises TaskExists, `return` gives the future of the
    other task, `replace` cancels a task that waits and lets a running one continue. Default: `reject`."""
    unique_for: float | None = None
    """How long after the submit the unique key is kept. Default: until the task ends."""
    debounce: float | None = None
    """The task runs this long after the last submit with its unique key; each submit replaces the task that waits."""
    full: float | str | None = None
    """What a submit to a full queue does: `raise` raises QueueFull immediately, `block` waits without limit, a duration
    waits at most that long. Default: the future raises QueueFull after DISTQ_CONNECT_WAIT_S."""
    every: float | None = None
    """How much time passes between two scheduled runs."""
    cron: str | None = None
    """The cron line, with five fields, of the scheduled runs."""
    timezone: str | None = None
    """The time zone by whose clocks `cron` is read. Default: UTC."""
    overlap: bool | None = None
    """Whether a scheduled run starts although the task of the previous one has not ended. Default: False."""
    catch_up: str | None = None
    """What the master does about scheduled runs that it missed: `one` submits one task for all of them, `all` submits a
    task for each, `none` submits no task. Default: `one`."""
    headers: Headers | None = None
    """Texts by name that travel with the task; `current().headers` and `distq show` show them."""
    on_failure: str | None = None
    """What happens to a task if a dependency of it fails: `fail` makes it a dead letter, `cancel` cancels it, `run`
    runs it with the exception in the place of the result. Default: `fail`."""
    retry_for: tuple[type[BaseException], ...] = ()
    """The exceptions after which the task is tried again. Default: all."""
    no_retry_for: tuple[type[BaseException], ...] = ()
    """The exceptions after which the task is not tried again; they win over `retry_for`."""

    def retries_after(self, error: BaseException) -> bool:
        """Whether the options allow another attempt after one that raised `error`."""
        if self.no_retry_for and isinstance(error, self.no_retry_for):
            return False
        return not self.retry_for or isinstance(error, self.retry_for)


def checked(before: Options, changes: Mapping[str, Any], excluded: Collection[str] = ()) -> Options:
    """The options with these changes; raises TypeError or ValueError for an unknown name or a wrong value.

    The error for an unknown name lists the options that are not in `excluded`.
    """
    unknown = sorted(changes.keys() - CHECKS.keys(), key=str)
    if unknown:
        known = ", ".join(name for name in CHECKS if name not in excluded)
        raise TypeError(f"there is no option {shown(unknown[0])}; there is {known}")
    given = {name: CHECKS[name](name, value) for name, value in changes.items() if value is not None}
    return before._replace(**given)


def checked_to_send(options: Mapping[str, Any], excluded: Collection[str] = ()) -> Options:
    """The checked options; raises TypeError or ValueError if a client cannot send one of them with a task.

    The error for an unknown name lists the options that a client sends and that are not in `excluded`.
    """
    for option in OF_CODE:
        if options.get(option) is not None:
            raise TypeError(
                f"{option} does not travel with a task: the worker reads it in the code. "
                f"Give it to the decorator, @distq.task({option}=...)."
            )
    return checked(Options(), options, (*OF_CODE, *excluded))


def checked_to_submit(options: Mapping[str, Any], excluded: Collection[str] = ()) -> None:
    """Raise TypeError or ValueError if a submit of the client cannot have these options.

    The error for an unknown name lists the options of a submit that are not in `excluded`.
    """
    unused = (option for option, (calls, _) in USES.items() if SUBMIT not in calls)
    coherent(checked_to_send(used(options, SUBMIT), (*unused, *excluded)))


def used(options: Mapping[str, Any], call: str) -> Mapping[str, Any]:
    """The same options; raises TypeError if this call of the client would ignore one of them."""
    for option, (calls, hint) in USES.items():
        if call not in calls and options.get(option) is not None:
            raise TypeError(f"{option} has no effect on `{call}`. {hint}")
    return options


def coherent(options: Options) -> Options:
    """The same options; raises TypeError if one has no effect without another, or two exclude each other."""
    for needed, dependent_options in NEEDED.items():
        for option in dependent_options:
            if getattr(options, option) is not None and getattr(options, needed) is None:
                raise TypeError(f"{option} needs {needed} too")
    if options.debounce is not None and (options.delay is not None or options.on_conflict not in (None, REPLACE)):
        raise TypeError("debounce delays and replaces tasks itself: leave out delay and on_conflict")
    return options


def task_name(name: Any) -> str:
    """The name of a task that a program gives in place of a function; raises TypeError or ValueError."""
    return new_task_name("a task's name", name)


def _queue(_field: str, value: Any) -> str:
    return new_queue_name(value)


def _name(field: str, value: Any) -> str:
    return text(field, value, NAMES[field])


def _instant(field: str, value: Any) -> float:
    return instant(field, value, _now())


def _key(field: str, value: Any) -> str | Callable[..., str]:
    if callable(value):
        key: Callable[..., str] = value
        return key
    try:
        return text(field, value, KEY_BYTES_MAX)
    except (TypeError, ValueError) as error:
        raise type(error)(f"{error}; or it is a function of the task's arguments that returns such a text") from error


def _flag(field: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError(f"{field} is True or False, not {shown(value)}")
    return value


def _choice(*choices: str) -> Callable[[str, Any], str]:
    """A check for an option that is one of several words."""
    listed = f"{', '.join(choices[:-1])} or {choices[-1]}"

    def check(field: str, value: Any) -> str:
        if not isinstance(value, str):
            raise TypeError(f"{field} is {listed}, not {shown(value)}")
        if value not in choices:
            raise ValueError(f"{field} is {listed}, not {shown(value)}")
        return plain_text(value)

    return check


def _full(field: str, value: Any) -> float | str:
    if isinstance(value, str) and value in (BLOCK, RAISE):
        return plain_text(value)
    try:
        return seconds(field, value)
    except (TypeError, ValueError) as error:
        raise type(error)(f"{field} is {BLOCK!r}, {RAISE!r} or a duration; {error}") from error


def _exceptions(field: str, value: Any) -> tuple[type[BaseException], ...]:
    kinds = value if isinstance(value, tuple) else (value,)
    if not all(isinstance(kind, type) and issubclass(kind, BaseException) for kind in kinds):
        raise TypeError(f"{field} takes exception classes, not {shown(kinds)}")
    return kinds


CHECKS: Final[Mapping[str, Callable[[str, Any], Any]]] = {
    "queue": _queue,
    "priority": whole,
    "retries": whole,
    "time_limit": seconds,
    "result_ttl": seconds,
    "max_deliveries": whole,
    "delay": seconds,
    "eta": _instant,
    "expires": seconds,
    "requires": labels,
    "cost": whole,
    "executor": _choice(*EXECUTORS),
    "concurrency_key": _key,
    "concurrency": whole,
    "unique_key": _key,
    "on_conflict": _choice(*CONFLICTS),
    "unique_for": seconds,
    "debounce": seconds,
    "full": _full,
    "every": seconds,
    "cron": _name,
    "timezone": _name,
    "overlap": _flag,
    "catch_up": _choice(*CATCH_UPS),
    "headers": headers,
    "on_failure": _choice(*FAILURE_POLICIES),
    "retry_for": _exceptions,
    "no_retry_for": _exceptions,
}
"""The check of each option: turns a given value, never None, into the one to send; raises TypeError or ValueError."""
