"""What an executor sets up once for all its tasks, and tears down when it ends: a model, a pool of connections."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Generator
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
    """A generator function: each executor runs the part before its `yield` once, and that behind it at its end."""

    def __init__(self, function: Callable[[], Generator[T, None, None]]) -> None:
        self.function = function
        self.name = f"{function.__module__}:{function.__qualname__}"
        self.is_up = False
        self._running: Generator[T, None, None] | None = None
        self._value: T | None = None

    def value(self) -> T:
        """What it has yielded here; sets it up first, where that has not been done yet.

        Raises:
            LifespanUnusable: it raised, or has yielded nothing.
        """
        if not self.is_up:
            self._running = running = self.function()
            try:
                self._value = next(running)
            except StopIteration:
                raise LifespanUnusable(f"The lifespan hook {self.name} has yielded nothing.") from None
            except (TimeLimitExceeded, TaskStopped):
                raise  # set up on the way of the first task that needs it: that one's time is over
            except BaseException as error:  # whatever a hook does, a sentence names it
                raise LifespanUnusable(
                    f"The lifespan hook {self.name} has failed: {type(error).__name__}: {error}."
                ) from error
            self.is_up = True
            _up.append(self)
        return self._value  # type: ignore[return-value] # it is up

    def tear_down(self) -> None:
        """Run what is behind its `yield`; raises LifespanUnusable if that fails."""
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
"""Those of the modules imported so far."""
_up: Final[list[Lifespan[Any]]] = []
"""Those that are set up here, in that order."""


class Injected:
    """The default of a parameter for which an executor puts in what a hook has yielded."""

    def __init__(self, hook: Lifespan[Any]) -> None:
        self.hook = hook

    def __getattr__(self, name: str) -> Any:
        """Say what is wrong where a task is called as a function, and this stands where a model should."""
        if name.startswith("__"):
            raise AttributeError(name)
        raise RuntimeError(
            f"{self.hook.name} is set up in executors only: where you call the task yourself, give it its own."
        )


def lifespan(function: Callable[[], Generator[T, None, None]]) -> Lifespan[T]:
    """Make a generator function a hook that sets up what tasks need, once in each executor.

        @distq.lifespan
        def model():
            loaded = load("model.bin")
            yield loaded
            loaded.close()


        @distq.task
        def predict(text: str, model=distq.injected(model)) -> str: ...

    Before its first task an executor runs the part before the `yield`; the part behind it when it ends, unless it is
    killed. If it raises, the executor runs nothing, says so, and is started again after a pause. Where an executor runs
    several tasks at once they share what it yields.

    Raises:
        TypeError: that is no generator function without parameters.
    """
    if not inspect.isgeneratorfunction(function) or inspect.signature(function).parameters:
        raise TypeError(f"{function!r} is no generator function without parameters")
    hook = Lifespan(function)
    hooks.append(hook)
    return hook


def injected(hook: Lifespan[T]) -> T:
    """The default of a task's parameter: in an executor it becomes what the hook has yielded."""
    if not isinstance(hook, Lifespan):
        raise TypeError(f"{hook!r} was not made by @distq.lifespan")
    return Injected(hook)  # type: ignore[return-value] # in an executor it is a T


def injections_of(function: Callable[..., Any]) -> dict[str, Lifespan[Any]]:
    """The parameters of a function into which something is put, and what."""
    try:
        parameters = inspect.signature(function).parameters
    except (TypeError, ValueError):  # of a function in C there is nothing to find out
        return {}
    return {name: one.default.hook for name, one in parameters.items() if isinstance(one.default, Injected)}


def set_up_all() -> None:
    """Set up what the modules imported so far have; raises LifespanUnusable."""
    for hook in hooks:
        hook.value()


def tear_down_all(log: Callable[[str], None]) -> None:
    """End all that is set up, the last one first; what fails is told and keeps nobody from ending."""
    while _up:
        try:
            _up.pop().tear_down()
        except LifespanUnusable as error:
            log(str(error))
