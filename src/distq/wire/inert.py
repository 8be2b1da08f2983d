"""Reads a call without building the objects in it.

The master must know which method of which object a peer calls, and with how many arguments, whatever classes the
arguments have. It must never import or call anything that a peer names. So every global becomes the same inert class,
which stands for the class, for each object that the class would make, and for the contents of that object.
"""

import pickle
from collections.abc import Sequence
from io import BytesIO
from typing import Any, NamedTuple, NoReturn

from distq.wire.errors import BadCall
from distq.wire.framing import SplitFrame
from distq.wire.opcodes import disarm, is_of_values


class _Absorbing(type):
    """Makes a class whose call gives the class itself."""

    def __call__(cls, *_args: object, **_kwds: object) -> "type[Inert]":
        return Inert


class Inert(metaclass=_Absorbing):
    """Stands for everything that a peer names: it accepts anything, and does nothing."""

    def __new__(cls, *_args: object, **_kwds: object) -> "type[Inert]":  # type: ignore[misc]
        """Return the class itself."""
        return Inert

    @staticmethod
    def _nothing(*_args: object) -> None:
        pass

    append = extend = add = __setstate__ = _nothing


class Token:
    """The standard library's argument of `get_methods`; `ident` is that of the object whose methods it requests."""

    ident: str | None = None

    def __setstate__(self, state: object) -> None:
        # (typeid, address, id)
        if type(state) is tuple and len(state) == 3 and type(state[2]) is str:
            self.ident = state[2]


class InertCall(NamedTuple):
    """One call of a peer; in it numbers, texts, bytes, lists, tuples and the text keys of dicts are real.

    All other values are inert, and so is the one argument of any `put(item)`.
    """

    ident: str | None
    method: str
    args: tuple[Any, ...]
    kwds: dict[str, Any]
    frame: bytes


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str, /) -> type[Inert | Token]:
        return Token if name == "Token" and module == "multiprocessing.managers" else Inert

    def persistent_load(self, pid: Any, /) -> Any:
        """Fill a dict as the unpickler would, but with text keys only, and leave a set empty (see `opcodes`)."""
        if type(pid) is list:
            return _updated({}, pid)
        if type(pid) is tuple and len(pid) in {2, 3}:
            target = pid[0]
            if type(target) is dict:
                return _updated(target, pid[1:] if len(pid) == 3 else pid[1])
            if type(target) is set:
                return target
        return Inert


def _updated(target: dict[str, Any], pairs: Any) -> dict[str, Any]:
    # The hash of a text takes little time, that of a tuple may take for ever.
    target.update((key, value) for key, value in zip(pairs[::2], pairs[1::2], strict=True) if type(key) is str)
    return target


_PUT = b"\x94\x8c\x03put\x94"
_ONE_ARGUMENT_END = b"\x85\x94}\x94t\x94."
_FAST_BEGINNINGS = (b"\x80\x04\x95", b"\x80\x05\x95")
_ONE_INERT = (Inert,)


def _read_put(frame: bytes) -> InertCall | None:
    """Return the call `put(item)`, recognised by its first and last bytes; None for anything else.

    The beginning, PROTO FRAME MARK SHORT_BINUNICODE ident MEMOIZE "put" MEMOIZE, leaves no room for anything
    else; and no pickler ends a call of another shape with TUPLE1 MEMOIZE EMPTY_DICT MEMOIZE TUPLE MEMOIZE STOP.
    """
    if not frame.endswith(_ONE_ARGUMENT_END) or frame[11:13] != b"(\x8c" or frame[:3] not in _FAST_BEGINNINGS:
        return None
    ident_end = 14 + frame[13]
    if not frame.startswith(_PUT, ident_end):
        return None
    try:
        ident = frame[14:ident_end].decode()
    except UnicodeDecodeError:
        return None
    return InertCall(ident, "put", _ONE_INERT, {}, frame)


def read_inert(pickled: bytes, parts: Sequence[bytes] | None = None) -> Any:
    """Return the value of a pickle, in which everything but Python's plain values is inert.

    Only the pickle of a split frame has parts beside it.

    Raises:
        BadCall: the pickle cannot be read.
    """
    try:
        if parts is None and is_of_values(pickled):
            return pickle.loads(
                pickled
            )  # without a file and an unpickler for each call, which cost three times as much
        harmless = disarm(pickled, is_split=parts is not None)
        return _Unpickler(BytesIO(harmless), buffers=parts).load()
    except Exception as exc:
        raise BadCall(f"This is not a call: {exc}.") from exc


def read_call(frame: bytes) -> InertCall:
    """Return the call in a frame.

    Raises:
        BadCall: the frame is not a call.
    """
    parts: Sequence[bytes] | None = None
    if isinstance(frame, SplitFrame):
        parts = frame.parts
    elif (call := _read_put(frame)) is not None:
        return call
    value = read_inert(frame, parts)
    if type(value) is not tuple or len(value) != 4:
        _refuse()
    ident, method, args, kwds = value
    if not (
        (ident is None or type(ident) is str) and type(method) is str and type(args) is tuple and type(kwds) is dict
    ):
        _refuse()
    return InertCall(ident, method, args, kwds, frame)


def _refuse() -> NoReturn:
    raise BadCall("This is not a call: it is not (ident, method, args, kwds).")
