"""A function as a task: the name that it goes by, and its options.

A function's name is its import path, `package.module:name`, unless `@task(name=...)` gives another. The
decorator leaves the function as it is; it only notes these things on it and in a table for workers.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, Final, NamedTuple, ParamSpec, TypeVar, overload

from distq.core.errors import DistqError

P = ParamSpec("P")
R = TypeVar("R")

QUEUE_DEFAULT: Final = "default"
_ATTRIBUTE: Final = "__distq_task__"


class NotATask(DistqError):
    """The function cannot be found by a worker, so it cannot be submitted."""

    code = "NOT_A_TASK"
    hint = "Move it to the top level of a module that workers can import, and submit it from there."
    exit_code = 2


class Options(NamedTuple):
    """How a task is queued and tried; None leaves it to the master's settings. Times are seconds."""

    queue: str = QUEUE_DEFAULT
    priority: int | None = None
    retries: int | None = None
    time_limit: float | None = None
    result_ttl: float | None = None
    max_deliveries: int | None = None
    retry_for: tuple[type[BaseException], ...] = ()
    """Only these are tried again; empty means all."""
    no_retry_for: tuple[type[BaseException], ...] = ()
    """These never are."""

    def retries_after(self, error: BaseException) -> bool:
        """Whether an attempt that raised `error` is followed by another, if any is left."""
        if self.no_retry_for and isinstance(error, self.no_retry_for):
            return False
        return not self.retry_for or isinstance(error, self.retry_for)


class TaskSpec(NamedTuple):
    """A function's name as a task, and its options."""

    name: str
    options: Options

    @property
    def envelope(self) -> tuple[str, str, int | None, int | None, float | None, float | None, int | None]:
        """What of it the master reads, as `submit` sends it."""
        options = self.options
        return (
            options.queue,
            self.name,
            options.priority,
            options.retries,
            options.time_limit,
            options.result_ttl,
            options.max_deliveries,
        )


_named: dict[str, Callable[..., Any]] = {}


@overload
def task(function: Callable[P, R], /) -> Callable[P, R]: ...
@overload
def task(
    *,
    name: str | None = None,
    queue: str = QUEUE_DEFAULT,
    priority: int | None = None,
    retries: int | None = None,
    time_limit: float | None = None,
    result_ttl: float | None = None,
    max_deliveries: int | None = None,
    retry_for: type[BaseException] | tuple[type[BaseException], ...] = (),
    no_retry_for: type[BaseException] | tuple[type[BaseException], ...] = (),
) -> Callable[[Callable[P, R]], Callable[P, R]]: ...
def task(function: Callable[..., Any] | None = None, /, *, name: str | None = None, **options: Any) -> Any:
    """Make a function a task, with a name and options of its own; it stays callable as it was.

    Args:
        function: the function, when used without parentheses.
        name: what it goes by; the default is its import path.
        **options: fields of `Options`: queue, priority (0-9, 9 first), retries, time_limit, result_ttl (seconds),
            max_deliveries, retry_for, no_retry_for.

    Raises:
        TypeError: there is no such option, or a value is of the wrong kind.
    """
    checked = _checked(options)

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        setattr(function, _ATTRIBUTE, (name, checked))
        _named[name or path_of(function)] = function
        return function

    return decorate if function is None else decorate(function)


def _checked(options: dict[str, Any]) -> Options:
    for kind in ("retry_for", "no_retry_for"):
        given = options.get(kind, ())
        options[kind] = given if isinstance(given, tuple) else (given,)
    checked = Options(**options)
    for field in ("priority", "retries", "max_deliveries"):
        value = getattr(checked, field)
        if value is not None and (not isinstance(value, int) or value < 0):
            raise TypeError(f"{field} is a whole number from 0, not {value!r}")
    if checked.priority is not None and checked.priority > 9:
        raise TypeError(f"priority is 0 to 9, 9 first, not {checked.priority!r}")
    for field in ("time_limit", "result_ttl"):
        value = getattr(checked, field)
        if value is not None and (not isinstance(value, int | float) or value <= 0):
            raise TypeError(f"{field} is a number of seconds above 0, not {value!r}")
    for field in ("retry_for", "no_retry_for"):
        if not all(isinstance(kind, type) and issubclass(kind, BaseException) for kind in getattr(checked, field)):
            raise TypeError(f"{field} takes exception classes, not {getattr(checked, field)!r}")
    if not isinstance(checked.queue, str) or not checked.queue:
        raise TypeError(f"queue is a name, not {checked.queue!r}")
    return checked


def path_of(function: Callable[..., Any]) -> str:
    """A function's import path, `module:qualname`."""
    return f"{getattr(function, '__module__', None)}:{getattr(function, '__qualname__', None)}"


def spec_of(function: Callable[..., Any]) -> TaskSpec:
    """The name and options that a function is submitted with.

    Raises:
        NotATask: a worker could not import it: a lambda, an inner function, one of `__main__`, a bound method.
    """
    given, options = getattr(function, _ATTRIBUTE, (None, Options()))
    path = path_of(function)
    module, _, qualname = path.partition(":")
    if given is not None:
        return TaskSpec(given, options)
    if not callable(function) or qualname == "None" or inspect.ismethod(function):
        raise NotATask(f"{function!r} is not a function that a worker can import.")
    if "<lambda>" in qualname:
        raise NotATask(f"a lambda ({path}) has no name by which a worker could import it.")
    if "<locals>" in qualname:
        raise NotATask(f"{path} is defined inside another function, so a worker cannot import it.")
    if module == "__main__":
        raise NotATask(f"{qualname} is defined in the program itself (__main__), which workers cannot import.")
    return TaskSpec(path, options)


def named(name: str) -> Callable[..., Any] | None:
    """The function that was decorated with (or goes by) this name in a module imported so far."""
    return _named.get(name)


def options_of(function: Callable[..., Any]) -> Options:
    """The options that its decorator gave a function."""
    options: Options = getattr(function, _ATTRIBUTE, (None, Options()))[1]
    return options
