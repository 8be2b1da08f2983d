"""What an integration does around each task of an executor, whichever function the task calls."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

Function = Callable[..., Any]

wrappers: Final[list[Callable[[Function], Function]]] = []
"""Each returns a function that calls the given one; an executor calls them once for each name of a task. Functions of
coroutines are left as they are: several of them run in one thread at the same time."""


def wrapped(function: Function) -> Function:
    """The function with all wrappers around it."""
    for wrap in wrappers:
        function = wrap(function)
    return function
