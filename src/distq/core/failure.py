"""The bytes of a task's failure: the exception's type, text and traceback, and the pickled exception if there is one.

The master, the executors, the clients and the command line all use this form.
"""

import pickle
from collections.abc import Callable
from typing import Any, Final, NamedTuple

TEXT_PROTOCOL: Final = 4
"""The pickle protocol of failures without an exception: standard-library programs from Python 3.8 on read it."""
EXCEPTION_PROTOCOL: Final = 5
"""The pickle protocol of failures that only programs with distq read."""


class Failure(NamedTuple):
    """A task's failure."""

    kind: str
    """The exception's type, as `module:qualname`; or a word, such as `lost`."""
    text: str
    remote_traceback: str = ""
    """The traceback in the executor, as text; '' if there is none."""
    pickled: bytes | None = None
    """The exception itself; None if it cannot be pickled and rebuilt."""
    why_not_pickled: str = ""
    """Why the exception is not there, in words that follow "because"; '' if it is, or if no reason is known."""


def pack_failure_text(kind: str, text: str, remote_traceback: str = "") -> bytes:
    """The bytes of a failure that has no exception."""
    return pickle.dumps((kind, text, remote_traceback), TEXT_PROTOCOL)


def pack_exception(failure: Failure) -> bytes:
    """The bytes of a failure whose exception may be pickled in it."""
    parts = tuple(failure) if failure.why_not_pickled else failure[:4]
    return pickle.dumps(tuple(parts), EXCEPTION_PROTOCOL)


def read_failure(body: bytes, unpickle: Callable[[bytes], Any]) -> Failure:
    """Read the bytes of a failure; raises what `unpickle` raises, TypeError or ValueError for other bytes."""
    kind, text, remote_traceback, *rest = unpickle(body)
    return Failure(kind, text, remote_traceback, *rest[:2])
