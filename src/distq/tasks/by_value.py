"""Functions and values that travel by value: as their code, in bytes of cloudpickle, instead of by an import path.

Such bytes contain code objects, which only the same minor version of Python can read: another one may crash. So they
travel inside a pickle that names the sender's versions, and this module compares the versions before it reads them.
"""

from __future__ import annotations

import pickle
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from distq.tasks.codec import PROTOCOL
from distq.tasks.failure import describe, is_interruption
from distq.tasks.task_error import TaskError

NAME_PREFIX: Final = "distq.by_value:"
"""Begins the name of each task whose function travels by value."""
FUNCTION: Final = "distq.function"
"""The keyword under which a payload carries the function; no keyword of a Python program has a dot."""
INSTALL: Final = "pip install 'distq[cloudpickle]'"
KEPT_FUNCTIONS_MAX: Final = 8
"""Maximum functions that a process keeps, so that it reads the function of many tasks once."""
KEPT_BYTES_MAX: Final = 32 << 20
"""Maximum bytes of the kept functions as they arrived; what they become in memory may be larger."""
_VERSION: Final = f"{sys.version_info.major}.{sys.version_info.minor}"
_NAME: Final = sys.implementation.name
PYTHON: Final = f"Python {_VERSION}" if _NAME == "cpython" else f"{_NAME} {_VERSION}"
"""This Python, as far as code objects depend on it."""
_MARK: Final = b"cloudpickle"
"""In all bytes that only cloudpickle can read: they name its module."""
_READ: Final = __name__.encode()
"""In all payloads with values that travel by value: they name this module."""


class ValueUnreadable(TaskError):
    """A function or a value that was sent by value cannot be read where it arrived."""

    code = "VALUE_UNREADABLE"
    hint = (
        "Run clients and workers on the same minor version of Python with the same packages, or move the function to "
        "a module that workers can import."
    )


class ByValue:
    """Bytes of cloudpickle; the pickle of this object becomes the value itself when it is unpickled."""

    def __init__(self, what: str, body: bytes) -> None:
        self.what = what
        self.body = body

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the bytes with the versions of this process."""
        return read_value, (self.what, PYTHON, _cloudpickle().__version__, self.body)


class FunctionByValue(ByValue):
    """A function as bytes of cloudpickle; the process that unpickles it keeps the function for further tasks."""

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the bytes with the versions of this process."""
        return read_function, (self.what, PYTHON, _cloudpickle().__version__, self.body)


def read_value(what: str, python: str, version: str, body: bytes) -> Any:
    """The value in bytes of cloudpickle of that version, which a program of that Python has sent.

    Raises:
        ValueUnreadable: this process has another Python or no cloudpickle, or the bytes cannot be read here.
    """
    if python != PYTHON:
        raise ValueUnreadable(
            f"{what} was sent by value by {python}, and this process runs {PYTHON}: code differs between minor "
            "versions."
        )
    try:
        here = _cloudpickle().__version__
    except ImportError:
        raise ValueUnreadable(f"{what} was sent by value, and cloudpickle is not installed here: {INSTALL}.") from None
    try:
        return pickle.loads(body)
    except ValueUnreadable:
        raise
    except BaseException as error:  # what it imports may raise anything, also SystemExit
        if is_interruption(error):
            raise
        versions = "" if version == here else f" (cloudpickle {version} wrote it, and {here} reads it)"
        why = f"{what} was sent by value and cannot be read here{versions}: {describe(error)}."
        raise ValueUnreadable(why) from error


def read_function(what: str, python: str, version: str, body: bytes) -> Any:
    """Do the same for a function; the same bytes give the same object, as long as this process keeps it."""
    with _lock:
        kept = _kept.get(body)
    if kept is None:
        kept = read_value(what, python, version, body)
        _keep(body, kept)
    return kept


def _keep(body: bytes, function: Any) -> None:
    if len(body) > KEPT_BYTES_MAX:
        return
    with _lock:
        _kept[body] = function
        while len(_kept) > KEPT_FUNCTIONS_MAX or sum(map(len, _kept)) > KEPT_BYTES_MAX:
            del _kept[next(iter(_kept))]


_kept: dict[bytes, Any] = {}
_lock = threading.Lock()


def split_call(
    args: Sequence[Any], kwargs: Mapping[str, Any]
) -> tuple[Callable[..., Any], Sequence[Any], dict[str, Any]]:
    """The function, and its own arguments, in the arguments of a task by value.

    In a chunk of calls the function is the first argument of each; in a single call it is a keyword, because the
    results of tasks before it come first.
    """
    own = dict(kwargs)
    function = own.pop(FUNCTION, None)
    return (args[0], args[1:], own) if function is None else (function, args, own)


def dump(value: Any) -> bytes:
    """A value that a task by value returns, yields or raises, as bytes; by value only if it has no import path."""
    try:
        return pickle.dumps(value, PROTOCOL)
    except Exception as error:  # its class may be the function's own, of which pickle knows no module
        if is_interruption(error):
            raise
        return wrapped("The outcome of the task", code_of(value))


def wrapped(what: str, body: bytes) -> bytes:
    """Bytes of cloudpickle in a pickle that names this Python; `what` begins the sentence of a refusal."""
    return pickle.dumps(ByValue(what, body), PROTOCOL)


def has_values(payload: bytes) -> bool:
    """Whether a payload contains values that travel by value; searching takes a millisecond for each 10 MB."""
    return _READ in payload


def is_by_value(body: bytes) -> bool:
    """Whether bytes of cloudpickle contain anything by value, so that only cloudpickle reads them."""
    return _MARK in body


def code_of(value: Any) -> bytes:
    """A value as bytes of cloudpickle; raises what its classes raise."""
    body: bytes = _cloudpickle().dumps(value, PROTOCOL)
    return body


def is_registered(module: str) -> bool:
    """Whether the program has asked cloudpickle to send what this module defines by value."""
    return any(module == one or module.startswith(f"{one}.") for one in _cloudpickle().list_registry_pickle_by_value())


def _cloudpickle() -> Any:
    """The module, whose import takes 20 ms: only programs that send or receive by value import it."""
    import cloudpickle  # noqa: PLC0415 - see above; it is an extra

    return cloudpickle
