"""Import paths of functions: checks that a worker which imports a path finds the function that was submitted."""

from __future__ import annotations

import functools
import importlib
import sys
from collections.abc import Callable
from types import CodeType, ModuleType
from typing import Any, Final

WRAPPERS_MAX: Final = 100
"""Maximum decorators that are followed to the function inside; more than that means that they form a circle."""
MAIN: Final = "__main__"


def path_of(function: Any) -> str:
    """A function's import path, `module:qualname`; `None:qualname` if it has no module."""
    owner = getattr(function, "__self__", None)
    if isinstance(owner, type):  # a class method, perhaps of a class that has inherited it
        return f"{owner.__module__}:{owner.__qualname__}.{getattr(function, '__name__', None)}"
    module = getattr(function, "__module__", None)
    if module is None and isinstance(of := getattr(function, "__objclass__", None), type):
        module = of.__module__  # a method of a type in C, as str.upper
    return f"{module}:{getattr(function, '__qualname__', None)}"


def without_partials(function: Any) -> Any:
    """The function inside objects of `functools.partial`."""
    while isinstance(function, functools.partial):
        function = function.func
    return function


def is_bound(function: Any) -> bool:
    """Whether a function is a method of an object that is neither a class nor a module."""
    owner = getattr(function, "__self__", None)
    return owner is not None and not isinstance(owner, type | ModuleType)


def object_at(path: str) -> Any:
    """The object at an import path in this process; None if there is none."""
    module, _, qualname = path.partition(":")
    try:
        found: Any = sys.modules.get(module) or importlib.import_module(module)
        for part in qualname.split("."):
            found = getattr(found, part)
    except Exception:  # noqa: BLE001 - the module may have a wrong name, and its import may raise anything
        return None
    return found


def called_as(function: Callable[..., Any]) -> Callable[..., Any]:
    """The object that a program calls by a registered function's name: it has the decorators above `@distq.task`."""
    found = object_at(path_of(function))
    return found if callable(found) and _leads_to(found, function) else function


def is_same(one: Any, other: Any) -> bool:
    """Whether two functions do the same: they are one object, or have equal code and no closure."""
    if one is other:
        return True
    if isinstance(getattr(one, "__self__", None), type):  # each access makes a new object of a class method
        return bool(one == other)
    code = getattr(one, "__code__", None)
    return (
        isinstance(code, CodeType)
        and code == getattr(other, "__code__", None)
        and getattr(one, "__closure__", None) is None
        and getattr(other, "__closure__", None) is None
    )


def place_of(function: Any) -> str:
    """A function's import path, file and first line number, for an error message."""
    code = getattr(function, "__code__", None)
    place = f" ({code.co_filename}:{code.co_firstlineno})" if isinstance(code, CodeType) else ""
    return f"{path_of(function)}{place}"


def replaces(new: Callable[..., Any], old: Callable[..., Any]) -> bool:
    """Whether a function may replace another one of its task name: it is the same function, defined or loaded again."""
    (module, _, name), (old_module, _, old_name) = path_of(new).partition(":"), path_of(old).partition(":")
    if (module, name) == (old_module, old_name) or MAIN in (module, old_module):
        return True
    if module == old_module and module in getattr(importlib, "_RELOADING", {}):
        return True
    new_code, old_code = getattr(new, "__code__", None), getattr(old, "__code__", None)
    if not (isinstance(new_code, CodeType) and isinstance(old_code, CodeType)):
        return False
    return new_code.co_filename == old_code.co_filename and name == old_name  # one file, imported by two names


def _leads_to(found: Any, function: Any) -> bool:
    for _ in range(WRAPPERS_MAX):
        if found is function:
            return True
        inner = getattr(found, "__wrapped__", None)
        found = getattr(found, "__func__", None) if inner is None else inner
        if found is None:
            return False
    return False
