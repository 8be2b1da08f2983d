"""Lifespan hooks: they set up what all tasks of an executor share (a model, a connection pool), and tear it down."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from typing import Any, Final, Generic, TypeVar

from distq.core.errors import DistqError
from distq.tasks.failure import TaskStopped, TimeLimitExceeded

T = TypeVar("T")


class LifespanUnusable(DistqError):
    """A lifespan hook could not set up what tasks need."""

    code = "LIFESPAN_UNUSABLE"
    hint = "See what the function raises when it is called: it yields once, and what it yields the tasks get."
    exit_code = 2


class Lifespan(Generic[T]):
    """A generator function: each executor runs the part before its `yield` once, and the part after it at its end."""

    def __init__(self, function: Callable[[], Iterator[T]]) -> None:
        self.function = function
        self.name = f"{function.__module__}:{function.__qualname__}"
        self.is_up = False
        self._running: Iterator[T] | None = None
        self._value: T | None = None

    def value(self) -> T:
        """The value that the hook has yielded in this process; the first call sets the hook up.

        Raises:
            LifespanUnusable: the hook raised, or yielded nothing.
        """
        if not self.is_up:
            self._running = running = self.function()
            try:
                self._value = next(running)
            except StopIteration:
                raise LifespanUnusable(f"The lifespan hook {self.name} has yielded nothing.") from None
            except (TimeLimitExceeded, TaskStopped):
                raise  # the first task that needs it sets it up: the time of that task is over
            except BaseException as error:  # also SystemExit: the error names the hook
                raise LifespanUnusable(
                    f"The lifespan hook {self.name} has failed: {type(error).__name__}: {error}."
                ) from error
            self.is_up = True
            _up.append(self)
        return self._value  # type: ignore[return-value] # it is up

    def tear_down(self) -> None:
        """Run the part after the hook's `yield`; raises LifespanUnusable if that fails."""
        running, self._running = self._running, None
        self.is_up = False
        if running is None:
            return
        try:
            next(running)
        except StopIteration:
            return
        except Exception as error:
            raise LifespanUnusable(
                f"The lifespan hook {self.name} could not end: {type(error).__name__}: {error}."
            ) from error
        raise LifespanUnusable(f"The lifespan hook {self.name} yields more than once.")


hooks: Final[list[Lifespan[Any]]] = []
"""The hooks of all modules imported so far."""
_up: Final[list[Lifespan[Any]]] = []
"""The hooks that are set up in this process, in the order in which they were set up."""


class Injected:
    """The default of a parameter that an executor replaces by the value that a hook has yielded."""

    def __init__(self, hook: Lifespan[Any]) -> None:
        self.hook = hook

    def __getattr__(self, name: str) -> Any:
        """Raise an error that explains the mistake: the task was called as a function, without this argument."""
        if name.startswith("__"):
            raise AttributeError(name)
        raise RuntimeError(
            f"{self.hook.name} is set up in executors only: where you call the task yourself, give it its own."
        )


def lifespan(function: Callable[[], Iterator[T]]) -> Lifespan[T]:
    """Make a generator function a hook that sets up what tasks need, once in each executor.

        @distq.lifespan
        def model():
            loaded = load("model.bin")
            yield loaded
            loaded.close()


        @distq.task
        def predict(text: str, model=distq.injected(model)) -> str: ...

    An executor runs the part before the `yield` before its first task, and the part after it when it ends, unless it is
    killed. If the hook raises, the executor runs no task, logs the error, and is started again after a pause. If an
    executor runs several tasks concurrently, they share the yielded value.

    Raises:
        TypeError: `function` is not a generator function without parameters.
    """
    if not inspect.isgeneratorfunction(function) or inspect.signature(function).parameters:
        raise TypeError(f"{function!r} is no generator function without parameters")
    hook = Lifespan(function)
    hooks.append(hook)
    return hook


def injected(hook: Lifespan[T]) -> T:
    """The default of a task's parameter, which an executor replaces by the value that the hook has yielded.

    Raises:
        TypeError: the argument was not made by `@distq.lifespan`.
    """
    if not isinstance(hook, Lifespan):
        raise TypeError(f"{hook!r} was not made by @distq.lifespan")
    return Injected(hook)  # type: ignore[return-value] # in an executor it is a T


def injections_of(function: Callable[..., Any]) -> dict[str, Lifespan[Any]]:
    """The hook of each parameter of a function that an executor fills in, by the parameter's name."""
    try:
        parameters = inspect.signature(function).parameters
    except (TypeError, ValueError):  # a function in C has no signature
        return {}
    return {name: one.default.hook for name, one in parameters.items() if isinstance(one.default, Injected)}


def set_up_all() -> None:
    """Set up the hooks of all modules imported so far; raises LifespanUnusable."""
    for hook in hooks:
        hook.value()


def tear_down_all(log: Callable[[str], None]) -> None:
    """Tear down all hooks that are set up, the last one first; a hook that fails is logged, and the others go on."""
    while _up:
        try:
            _up.pop().tear_down()
        except LifespanUnusable as error:
            log(str(error))
