"""Checks of arguments at the submit: whether they fit the function, and whether a worker can unpickle them."""

from __future__ import annotations

import inspect
import io
import math
import pickle
from collections.abc import Callable, Mapping, Sequence
from types import BuiltinFunctionType, FunctionType, MethodType
from typing import Any, Final, NamedTuple

from distq.tasks.failure import is_interruption
from distq.tasks.identity import MAIN, path_of
from distq.tasks.lifespan import Injected
from distq.tasks.options import CHECKS

MAIN_BYTES: Final = MAIN.encode()


class Fit(NamedTuple):
    """The arguments that a function takes: how many positional ones fit alone, and its signature for other calls."""

    arguments_min: int
    arguments_max: float
    signature: inspect.Signature | None
    """The signature of the function; None if it is not known, and then all arguments fit."""
    name: str
    injected: frozenset[str] = frozenset()
    """The parameters that only a worker fills in."""

    def check(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        """Raise the TypeError that the call would raise."""
        if self.signature is None:
            return
        if given := sorted(self.injected & kwargs.keys()):
            raise TypeError(f"{self.name}(): {', '.join(given)} is given by its worker (distq.injected): leave it out.")
        try:
            self.signature.bind(*args, **kwargs)
        except TypeError as error:
            raise TypeError(f"{self.name}(): {error}{_hint(kwargs, self.signature)}") from None


ANY: Final = Fit(0, math.inf, None, "")


def fit_of(function: Callable[..., Any]) -> Fit:
    """The arguments that a function takes; `ANY` if that is not certain.

    For a decorator's wrapper its own signature counts, not that of the wrapped function: the wrapper may add arguments.
    """
    if not isinstance(function, FunctionType | MethodType | BuiltinFunctionType) or hasattr(function, "__signature__"):
        return ANY
    try:
        signature = inspect.signature(function, follow_wrapped=False)
    except (TypeError, ValueError):  # many functions in C have no signature
        return ANY
    given = {name: one for name, one in signature.parameters.items() if not isinstance(one.default, Injected)}
    injected = signature.parameters.keys() - given.keys()
    signature = signature.replace(parameters=list(given.values()))
    least: int = 0
    most: float = 0
    for one in signature.parameters.values():
        required = one.default is inspect.Parameter.empty
        if one.kind is inspect.Parameter.VAR_POSITIONAL:
            most = math.inf
        elif one.kind is inspect.Parameter.KEYWORD_ONLY:
            if required:
                most = -1  # positional arguments alone never fit
        elif one.kind is not inspect.Parameter.VAR_KEYWORD:
            least += required
            most += 1
    return Fit(least, most, signature, path_of(function).partition(":")[2], frozenset(injected))


def _hint(kwargs: Mapping[str, Any], signature: inspect.Signature) -> str:
    options = [name for name in kwargs if name in CHECKS and name not in signature.parameters]
    if not options:
        return ""
    given = ", ".join(f"{name}={kwargs[name]!r}" for name in options)
    return f" (an option is given as client.options({given}).submit(...))"


def main_class_in(arguments: object) -> str | None:
    """The name of the first class or function of `__main__` that the arguments contain; None if there is none."""
    return found_in(arguments, _main_class)


def _main_class(value: Any) -> str | None:
    named = value if isinstance(value, type | FunctionType) else type(value)
    return named.__qualname__ if named.__module__ == MAIN else None


def found_in(arguments: object, look: Callable[[Any], str | None]) -> str | None:
    """What `look` first returns for an object in the arguments, of those that pickle writes by their name or class.

    Raises what pickle raises before it comes to such an object.
    """
    finder = _Finder(look)
    try:
        finder.dump(arguments)
    except Exception as error:
        if finder.found is None or is_interruption(error):
            raise
    return finder.found


class _Finder(pickle.Pickler):
    """Pickles arguments into memory, and notes what `look` first returns for one of their objects."""

    def __init__(self, look: Callable[[Any], str | None]) -> None:
        super().__init__(io.BytesIO(), pickle.HIGHEST_PROTOCOL)
        self._look = look
        self.found: str | None = None

    def reducer_override(self, obj: Any) -> Any:
        """Look at each object that pickle writes by its name or by its class."""
        if self.found is None:
            self.found = self._look(obj)
        return NotImplemented
