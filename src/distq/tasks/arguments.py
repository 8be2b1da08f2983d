"""Whether arguments fit a function, and whether a worker can read them: found out where they are given."""

from __future__ import annotations

import inspect
import io
import math
import pickle
from collections.abc import Callable, Mapping, Sequence
from types import BuiltinFunctionType, FunctionType, MethodType
from typing import Any, Final, NamedTuple

from distq.tasks.identity import MAIN, path_of
from distq.tasks.lifespan import Injected
from distq.tasks.options import CHECKS

MAIN_BYTES: Final = MAIN.encode()


class Fit(NamedTuple):
    """What a function takes: so many positional arguments fit if there are no others; what else does, its signature."""

    arguments_min: int
    arguments_max: float
    signature: inspect.Signature | None
    """None if it is not known: then everything fits."""
    name: str
    injected: frozenset[str] = frozenset()
    """Parameters that only a worker gives."""

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
    """What a function takes, as far as that is certain.

    A decorator's wrapper is taken at its own word, not at that of the function that it wraps: it may add arguments.
    """
    if not isinstance(function, FunctionType | MethodType | BuiltinFunctionType) or hasattr(function, "__signature__"):
        return ANY
    try:
        signature = inspect.signature(function, follow_wrapped=False)
    except (TypeError, ValueError):  # of many functions in C there is none
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
    """The name of a class or function of `__main__` of which arguments are made; None if there is none."""
    finder = _Finder(io.BytesIO(), pickle.HIGHEST_PROTOCOL)
    finder.dump(arguments)
    return finder.found


class _Finder(pickle.Pickler):
    """Pickles once more, and notes what the program itself has defined."""

    found: str | None = None

    def reducer_override(self, obj: Any) -> Any:
        """Look at what is pickled by its class, or by its name."""
        named = obj if isinstance(obj, type | FunctionType) else type(obj)
        if self.found is None and named.__module__ == MAIN:
            self.found = named.__qualname__
        return NotImplemented
