"""Describes a payload without running code of it.

A pickle is a program of the client that wrote it, and an operator who reads dead letters must not run it. Classes and
functions are shown by their names and arguments.
"""

import json
import pickle
import reprlib
from io import BytesIO
from typing import Any, Final, Self

from distq.core.failure import read_failure
from distq.core.plurals import counted
from distq.tasks.by_value import FUNCTION, read_value
from distq.tasks.sealed import shown_content
from distq.wire.errors import BadCall
from distq.wire.opcodes import disarm

READ_BYTES_MAX: Final = 1 << 20
"""Maximum bytes of a pickle that is read; of a larger one only the size is shown."""
NAMES_MAX: Final = 1_000
CHARS_MAX: Final = 4_000
_BY_VALUE: Final = f"{read_value.__module__}.{read_value.__name__}"
"""Makes the arguments of a call that travel by value, of its last argument: the code of classes, which is not read."""
_HASHABLE: Final = (str, bytes, int, float, bool, type(None))


class _Named(type):
    """The type of classes that have only a name."""

    def __repr__(cls) -> str:
        return cls.__name__


class _Made(metaclass=_Named):
    """Stands for the object that a named class or function would have made."""

    args: tuple[Any, ...] = ()
    kwds: dict[str, Any]
    state: Any = None

    def __new__(cls, *args: Any, **kwds: Any) -> Self:
        made = object.__new__(cls)
        made.args, made.kwds = args, kwds
        return made

    def __call__(self, *args: Any, **kwds: Any) -> Self:
        return type(self).__new__(type(self), *args, **kwds)

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def append(self, item: Any) -> None:
        """Add an item, as a subclass of list does."""
        self.args = (*self.args, item)

    add = append

    @reprlib.recursive_repr()
    def __repr__(self) -> str:
        state = () if self.state is None else (self.state,)
        return f"{type(self).__name__}{_call(self.args + state, self.kwds)}"


class _Shown:
    """A key that is shown, and hashed by its identity only."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def __repr__(self) -> str:
        return repr(self.value)


class Described:
    """Stands for a value that is not read, with a description."""

    def __init__(self, description: str) -> None:
        self.description = description

    def __repr__(self) -> str:
        return f"<{self.description}>"


class _Reader(pickle.Unpickler):
    """An unpickler that imports and calls nothing."""

    def __init__(self, pickled: bytes) -> None:
        super().__init__(BytesIO(pickled))
        self._names: dict[str, Any] = {}

    def find_class(self, module: str, name: str, /) -> Any:
        """Return a class that has this name and nothing else."""
        if name == "getitem" and module in ("operator", "_operator"):
            return _taken  # a plain item is stored as the call that put it, from which it is taken
        path = name if module == "builtins" else f"{module}.{name}"
        if len(self._names) >= NAMES_MAX:
            path = "..."
        return self._names.setdefault(path, _Named(path, (_Made,), {}))

    def persistent_load(self, pid: Any, /) -> Any:
        """Fill the dicts and sets that `disarm` emptied, without a hash of an object of the pickle."""
        if type(pid) is list:
            return _filled({}, pid)
        if type(pid) is tuple and len(pid) == 3 and type(pid[0]) is dict:
            return _filled(pid[0], pid[1:])
        if type(pid) is tuple and len(pid) == 2 and type(pid[0]) is dict:
            return _filled(pid[0], pid[1])
        if type(pid) is tuple and len(pid) == 2 and type(pid[0]) is set:
            pid[0].update(map(_key, pid[1]))
            return pid[0]
        return pid[0] if type(pid) is tuple and pid else pid


def _taken(source: Any, index: Any) -> Any:
    known = (type(source) is tuple and type(index) is int) or (type(source) is dict and type(index) is str)
    return source[index] if known else _Shown(source)


def _key(value: Any) -> Any:
    return value if type(value) in _HASHABLE else _Shown(value)


def _filled(target: dict[Any, Any], pairs: Any) -> dict[Any, Any]:
    target.update((_key(key), value) for key, value in zip(pairs[::2], pairs[1::2], strict=True))
    return target


def read(pickled: bytes) -> Any:
    """Return the value of a pickle, in which everything but Python's plain values is replaced by its name.

    Raises:
        BadCall: the pickle cannot be read.
    """
    try:
        return _Reader(disarm(pickled)).load()
    except BadCall:
        raise
    except Exception as error:
        raise BadCall(f"The pickle cannot be read: {error}.") from error


def describe(payload: bytes, name: str, *, plain: bool = False) -> str:
    """Return the call in a payload as Python text, or the item in the payload of a plain item."""
    content = shown_content(payload)
    if content is None:
        return f"encrypted: {counted(len(payload), 'byte')}"
    payload = content
    if payload[:1] != b"{" and len(payload) > READ_BYTES_MAX:
        return f"a pickle of {counted(len(payload), 'byte')}"
    try:
        if payload[:1] == b"{":
            call = json.loads(payload)
            text = f"{name}{_call(tuple(call['args']), call['kwargs'])}"
        else:
            text = _described(read(payload), name, plain=plain)
    except (BadCall, TypeError, ValueError, KeyError, AttributeError, RecursionError):
        return f"not a call: {counted(len(payload), 'byte')}"
    more = len(text) - CHARS_MAX
    return text if more <= 0 else f"{text[:CHARS_MAX]}... and {counted(more, 'more character')}"


def _described(value: Any, name: str, *, plain: bool) -> str:
    if plain:
        return repr(value)
    if type(value) is tuple and len(value) == 1 and type(value[0]) is list:
        return f"{counted(len(value[0]), 'call')}: " + ", ".join(f"{name}{_call(row, {})}" for row in value[0])
    if isinstance(value, _Made) and type(value).__name__ == _BY_VALUE:
        return f"{name}(...): its arguments travel by value, {counted(len(value.args[-1]), 'byte')}"
    args, kwds = value
    return f"{name}{_call(args, {key: one for key, one in kwds.items() if key != FUNCTION})}"


def failure_of(error: bytes) -> tuple[str, str, str]:
    """Return the type, text and traceback of an error as its executor wrote them; empty texts without an error."""
    if not error:
        return "", "", ""
    content = shown_content(error)
    if content is None:
        return "encrypted", "a client with DISTQ_ENCRYPTION_KEY reads the error", ""
    try:
        failure = read_failure(content, read)
    except (BadCall, TypeError, ValueError):
        return "unreadable", f"not an error: {counted(len(error), 'byte')}", ""
    return str(failure.kind), str(failure.text), str(failure.remote_traceback)


def _call(args: tuple[Any, ...], kwds: dict[Any, Any]) -> str:
    parts = [repr(value) for value in args] + [f"{key}={value!r}" for key, value in kwds.items()]
    return f"({', '.join(parts)})"
