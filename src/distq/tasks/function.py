"""Functions as tasks: the `@task` decorator, and the name and options of each task.

A task's name is its function's import path, `package.module:name`, unless `@task(name=...)` gives another. The
decorator does not change how the function is called; it stores name and options on it and in a table for workers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple, ParamSpec, TypeVar, Unpack, overload

from distq.core.constraints import KEY_BYTES_MAX, Headers
from distq.core.errors import DistqError
from distq.core.option_values import executor_label
from distq.core.ranges import plain_text, shown
from distq.protocol.schedule import ScheduleDefinition
from distq.protocol.submit import (
    REJECT,
    REPLACE,
    SubmitEnvelope,
    When,
    WireTuple,
    with_headers,
    write_constraints,
    write_envelope,
    write_when,
)
from distq.tasks.identity import (
    MAIN,
    called_as,
    is_bound,
    is_same,
    object_at,
    path_of,
    place_of,
    replaces,
    without_partials,
)
from distq.tasks.options import Options, TaskKeywords, checked, coherent, task_name

P = ParamSpec("P")
R = TypeVar("R")

_ATTRIBUTE: Final = "__distq_task__"
_UNDECORATED: Final = (None, Options(retries=0))
"""The name and options of a function without the decorator: its first exception is its outcome, as in every executor
of the standard library."""


class NotATask(DistqError):
    """The function cannot be found by a worker, so it cannot be submitted."""

    code = "NOT_A_TASK"
    hint = "Move it to the top level of a module that workers can import, or submit it with Client(by_value=True)."
    exit_code = 2


class TwoTasks(DistqError, TypeError):
    """Two functions were given the same name as tasks."""

    code = "TWO_TASKS"
    hint = "Give one of them another name: a worker finds a task by its name alone."
    exit_code = 2


class TaskSpec(NamedTuple):
    """A function's name as a task, and its options."""

    name: str
    options: Options

    @property
    def envelope(self) -> WireTuple:
        """The envelope of the task, in its wire form."""
        options = self.options
        requires = options.requires or ()
        if options.executor is not None:
            requires = (*requires, executor_label(options.executor))
        return write_envelope(
            SubmitEnvelope(
                options.queue,
                self.name,
                options.priority,
                options.retries,
                options.time_limit,
                options.result_ttl,
                options.max_deliveries,
                requires,
                options.cost,
            )
        )

    @property
    def when(self) -> WireTuple | None:
        """The delay, start time and expiry of the task, in their wire form; None if it has none of them."""
        _, options = self
        delay_s = options.delay if options.debounce is None else options.debounce
        return write_when(When(delay_s, options.eta, options.expires))

    @property
    def keys(self) -> Keys | None:
        """The options from which the keys of each task are made; None if there are none."""
        options = self.options
        if options.concurrency_key is None and options.unique_key is None:
            return None
        conflict = REPLACE if options.debounce is not None else options.on_conflict or REJECT
        return Keys(
            options.concurrency_key,
            options.concurrency,
            options.unique_key,
            options.unique_for,
            conflict,
            options.headers or (),
        )

    @property
    def constraints(self) -> WireTuple | None:
        """The constraints of a task without keys: only its headers, in their wire form."""
        return with_headers(None, self.options.headers or ())

    def scheduled(self, name: str, body: bytes, args: Sequence[Any], kwargs: Mapping[str, Any]) -> ScheduleDefinition:
        """The definition of a schedule of that name whose runs have these arguments; `body` is their encoding."""
        options, keys = self.options, self.keys
        return ScheduleDefinition(
            name,
            body,
            self.envelope,
            self.when,
            self.constraints if keys is None else keys.of(args, kwargs),
            options.every,
            options.cron,
            options.timezone,
            options.overlap,
            options.catch_up,
        )


class Keys(NamedTuple):
    """The options from which the keys of a task are made: texts, or functions of its arguments."""

    concurrency_key: str | Callable[..., str] | None
    concurrency: int | None
    unique_key: str | Callable[..., str] | None
    unique_for: float | None
    on_conflict: str
    headers: Headers = ()

    def of(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> WireTuple:
        """The constraints of a task with these arguments, in their wire form; raises TypeError or ValueError."""
        made: list[str | None] = []
        for field, key in (("concurrency_key", self.concurrency_key), ("unique_key", self.unique_key)):
            text = key(*args, **kwargs) if callable(key) else key
            if text is not None and not (isinstance(text, str) and 0 < len(text.encode()) <= KEY_BYTES_MAX):
                kind = ValueError if isinstance(text, str) else TypeError
                raise kind(f"{field} is {shown(text)}: it must be a text of 1 to {KEY_BYTES_MAX} bytes")
            made.append(None if text is None else plain_text(text))
        return write_constraints(
            made[0], self.concurrency, made[1], self.unique_for, self.on_conflict, headers=self.headers
        )


_named: dict[str, Callable[..., Any]] = {}


@overload
def task(function: Callable[P, R], /) -> Callable[P, R]: ...
@overload
def task(*, name: str | None = None, **options: Unpack[TaskKeywords]) -> Callable[[Callable[P, R]], Callable[P, R]]: ...
def task(function: Callable[..., Any] | None = None, /, *, name: str | None = None, **options: Any) -> Any:
    """Make a function a task, with a name and options of its own; it can be called as before.

        @distq.task(queue="mail", retries=5, time_limit="30s")
        def send(to: str) -> None: ...

    At `time_limit` the executor raises TimeLimitExceeded in the task, so that it can clean up; the worker kills the
    executor if the task still runs 2 s later. `retries` counts attempts that failed. `max_deliveries` counts deliveries
    that were lost because an executor or a worker ended, or a lease expired, while the task ran: the task becomes a
    dead letter at that number.

    Args:
        function: the function, when the decorator is used without parentheses.
        name: the name of the task; the default is the import path of the function, `module:function`.
        **options: fields of `distq.tasks.options.Options`; docs/reference/api.md lists them with units and defaults. A
            duration is a number of seconds, a timedelta, or a text such as `30s` or `1h30m`.

    Raises:
        TypeError: there is no such option, a value has a wrong type, an option needs another one, or what is decorated
            is no function, or one that is a task already with another name or other options.
        ValueError: a value is out of range.
        TwoTasks: another function has this name.
    """
    given = coherent(checked(Options(), options))

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        inner: Callable[..., Any] = function.__func__ if isinstance(function, classmethod | staticmethod) else function
        _check_decorated(inner, (name, given))
        _register(task_name(name) if name else path_of(inner), inner)
        setattr(inner, _ATTRIBUTE, (name, given))
        return function

    return decorate if function is None else decorate(function)


def _check_decorated(function: Any, given: tuple[str | None, Options]) -> None:
    """Raise TypeError for an object that cannot be made a task, or one that is a task with another name or options."""
    if not callable(function):
        raise TypeError(f"@distq.task decorates a function, not {shown(function)}; a name is given as name='...'")
    if not hasattr(function, "__dict__"):
        raise TypeError(f"{shown(function)} cannot be decorated: decorate a function that calls it")
    before = vars(function).get(_ATTRIBUTE)
    # A function around it, made by `functools.wraps`, has the attribute too.
    if before not in (None, given) and _named.get(before[0] or path_of(function)) is function:
        raise TypeError(
            f"{path_of(function)} is a task already, with another name or other options: decorate it once. "
            "`client.options(...)` gives options to single submits"
        )


def _register(name: str, function: Callable[..., Any]) -> None:
    other = _named.get(name)
    if other is not None and not replaces(function, other):
        raise TwoTasks(f"The name {name!r} is given to two tasks: {place_of(other)} and {place_of(function)}.")
    _named[name] = function


def spec_of(function: Callable[..., Any]) -> TaskSpec:
    """The name and options with which a function is submitted.

    Raises:
        NotATask: a worker could not import it (a lambda, an inner function, one of `__main__`, a method of an object),
            or would find another object by its name.
    """
    given, options = getattr(function, _ATTRIBUTE, _UNDECORATED)
    path = path_of(function)
    if not callable(function):
        raise NotATask(_no_function(function))
    if is_bound(function):
        raise NotATask(
            f"{function!r} is bound to an object, which does not travel with it: a worker cannot import it. "
            "Submit a function that takes the object, or what it is made from, as an argument."
        )
    if given is not None:
        registered = _named.get(given)
        if registered is not None and not is_same(called_as(registered), function):
            raise NotATask(
                f"{_described(function)} is not what the name {given!r} leads to: that is {_described(registered)}."
            )
        return TaskSpec(given, options)
    _check_path(function, path)
    return TaskSpec(path, options)


def _no_function(value: object) -> str:
    """The sentences about an object that was submitted in the place of a function."""
    if isinstance(value, str):
        return (
            f"{shown(value)} is a text, not a function: submit_named({shown(value)}, [...]) submits a task by its name."
        )
    return (
        f"{shown(value)} is not a function that a worker can import. Give the function and its arguments separately: "
        "submit(function, 1), not submit(function(1))."
    )


def _check_path(function: Callable[..., Any], path: str) -> None:
    """Raise NotATask if a worker that imports `path` would not have that function."""
    module, _, qualname = path.partition(":")
    if module == "None" or qualname.rpartition(".")[2] == "None":
        raise NotATask(
            f"{function!r} is not a function that a worker can import: it has no name in a module. "
            "Of a partial submit the function, with all its arguments."
        )
    if "<lambda>" in qualname:
        raise NotATask(f"a lambda ({path}) has no name by which a worker could import it.")
    if "<locals>" in qualname:
        raise NotATask(f"{path} is defined inside another function, so a worker cannot import it.")
    if module == MAIN:
        raise NotATask(f"{qualname} is defined in the program itself (__main__), which workers cannot import.")
    found = object_at(path)
    if found is None:
        raise NotATask(f"{_described(function)} cannot be imported: there is no {path}.")
    if not is_same(found, function):
        raise NotATask(
            f"{_described(function)} is not what workers import by its name, {path}: that is {_described(found)}. "
            "If its module was loaded again, or a decorator replaced it, take it from there anew."
        )


def _described(function: Any) -> str:
    return f"{function!r} of {place_of(function)}" if hasattr(function, "__code__") else repr(function)


def named(name: str) -> Callable[..., Any] | None:
    """The function that was decorated with (or goes by) this name in a module imported so far."""
    return _named.get(name)


def all_named() -> list[tuple[str, Callable[..., Any]]]:
    """All functions that were decorated in the modules imported so far, by their names."""
    return list(_named.items())


def called_by_name(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """The object that a worker calls for the task with that name, for which `function` was registered.

    If the name is the import path of the function, this is the callable object at that path, with the decorators above
    `@distq.task`. For another name it is that object too, if its decorators lead back to the function.
    """
    if name == path_of(function):
        found = object_at(name)
        return found if callable(found) else function
    return called_as(function)


def given_name_of(function: Callable[..., Any]) -> str | None:
    """The name that its decorator gave a function; None if it gave none."""
    name: str | None = getattr(function, _ATTRIBUTE, _UNDECORATED)[0]
    return name


def name_of(function: Callable[..., Any]) -> str:
    """The name of a function for people: its decorator's, or its import path, where workers may not find it."""
    plain = without_partials(function)
    return given_name_of(function) or path_of(plain if hasattr(plain, "__qualname__") else type(plain))


def options_of(function: Callable[..., Any]) -> Options:
    """The options that its decorator gave a function, or those of a function without the decorator."""
    options: Options = getattr(function, _ATTRIBUTE, _UNDECORATED)[1]
    return options
