"""Errors of calls that a client cannot send."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Generator, Sequence
from concurrent.futures import Future
from typing import Any, Final

from distq.client.future_state import FUTURE_IS_LOCAL, FutureState
from distq.core.errors import DistqError
from distq.tasks.arguments import found_in
from distq.tasks.failure import is_interruption, text_of

OWN_PROCESS_ONLY: Final[Sequence[tuple[type | tuple[type, ...], str]]] = (
    (FutureState, FUTURE_IS_LOCAL),
    (Future, "a future belongs to the process that made it. Pass its result, future.result()"),
    (Awaitable, "a coroutine or a future of asyncio belongs to its event loop. Await it, and pass its result"),
    ((Generator, AsyncGenerator), "a generator belongs to the process that made it. Pass a list of its values"),
)
"""Classes whose objects cannot be arguments of a task, with the reason and what to do instead."""


class NotPicklable(DistqError, TypeError):
    """An argument of the task, or a function that travels by value, cannot be pickled, so the client cannot send it."""

    code = "NOT_PICKLABLE"
    hint = "Pass values from which the task can make it instead: a path, a name, plain values."
    exit_code = 2


class ClassOfMain(NotPicklable):
    """An argument has a class that the program defines in `__main__`, which workers cannot import."""

    code = "CLASS_OF_MAIN"
    hint = "Move the class to a module that workers can import, pass plain values, or use Client(by_value=True)."


class ExtraMissing(DistqError, ImportError):
    """The program uses a part of distq that needs another package, which an extra of distq installs."""

    code = "EXTRA_MISSING"
    hint = "Install distq with the extra that the message names."
    exit_code = 2


def why_unsendable(arguments: object, error: Exception) -> str:
    """Why arguments cannot be sent, where writing them has raised `error`; raises an interruption again."""
    if is_interruption(error):
        raise error
    found = None
    try:
        found = found_in(arguments, _own_process_only)
    except Exception as again:  # pickle writes the arguments again, and raises the same
        if is_interruption(again):
            raise
    return found or text_of(error) or type(error).__name__


def _own_process_only(value: Any) -> str | None:
    return next((reason for kind, reason in OWN_PROCESS_ONLY if isinstance(value, kind)), None)
