"""Objects of every kind that programs put on queues, each pickled in its own way."""

import array
import collections
import dataclasses
import datetime as dt
import decimal
import enum
import fractions
import functools
import ipaddress
import operator
import pathlib
import queue
import types
import uuid
import zoneinfo
from typing import Any, NamedTuple, Self


@dataclasses.dataclass
class Point:
    """A program's own dataclass."""

    x: int
    y: "Point | None" = None


@dataclasses.dataclass(frozen=True, slots=True)
class Frozen:
    """A frozen dataclass with slots: its state is a list."""

    name: str


class Colour(enum.Enum):
    """An enum: pickled as a call of its class."""

    RED = 1


class Flags(enum.IntFlag):
    """A flag: pickled by its value."""

    A = 1
    B = 2


class Outer:
    """A class with a class in it: protocol 4 names it with a dot."""

    class Inner:
        """The class inside."""

        value = 1


class Pair(NamedTuple):
    """A named tuple: NEWOBJ with its fields."""

    left: int
    right: str


class Slots:
    """An object whose state is in slots: BUILD gets a pair."""

    __slots__ = ("a",)

    def __init__(self) -> None:
        self.a = 1


class Keyword(tuple[int, ...]):
    """A class that needs keywords: NEWOBJ_EX."""

    __slots__ = ()

    def __new__(cls, *values: int, scale: int) -> Self:
        """Take values, and the number to multiply them with."""
        return super().__new__(cls, [value * scale for value in values])

    def __getnewargs_ex__(self) -> tuple[tuple[int, ...], dict[str, int]]:
        return tuple(self), {"scale": 1}


class MyList(list[int]):
    """A program's own list: APPENDS to the object that REDUCE made."""


class MyDict(dict[Any, Any]):
    """A program's own dict: SETITEMS on the object that NEWOBJ made."""


class MySet(set[int]):
    """A program's own set."""


class Like:
    """Reduced as an array of numbers is: a function, its arguments, then a state with a nested dtype and bytes."""

    def __reduce__(self) -> tuple[Any, ...]:
        dtype = functools.partial(str, "f8")
        return rebuild, (Like, (0,), b"b"), (1, (3, 2), dtype, False, b"\0" * 48)

    def __setstate__(self, _state: object) -> None:
        pass


def rebuild(kind: type[Like], _shape: object, _code: bytes) -> Like:
    """Make a `Like` as `_reconstruct` makes an array."""
    return kind()


class SetState:
    """An object with a reduction of six parts: a function of its own sets its state."""

    def __reduce__(self) -> tuple[Any, ...]:
        return SetState, (), {"a": 1}, None, None, set_state


def set_state(_obj: SetState, _state: object) -> None:
    """Set nothing."""


class Coded:
    """A class with an extension code."""


# One for each of the three opcodes.
EXTENSION_CODES = (0x55, 0x1234, 0x12345678)

shared = [1, 2]
loop: list[Any] = []
loop.append(loop)

KINDS: dict[str, Any] = {
    "dataclass": Point(1, Point(2)),
    "frozen dataclass with slots": Frozen("n"),
    "enum": Colour.RED,
    "flag": Flags.A | Flags.B,
    "nested class": Outer.Inner(),
    "a class itself": Outer.Inner,
    "a function": rebuild,
    "a builtin": operator.getitem,
    "named tuple": Pair(1, "r"),
    "slots": Slots(),
    "keyword arguments": Keyword(1, 2, scale=3),
    "list subclass": MyList([1, 2]),
    "dict subclass": MyDict({(1, 2): 3}),
    "set subclass": MySet([1, 2]),
    "array-like": Like(),
    "state setter": SetState(),
    "date": dt.date(2024, 2, 29),
    "datetime with zone": dt.datetime(2024, 2, 29, tzinfo=zoneinfo.ZoneInfo("UTC")),
    "timedelta": dt.timedelta(seconds=1.5),
    "decimal": decimal.Decimal("1.10"),
    "fraction": fractions.Fraction(1, 3),
    "uuid": uuid.UUID(int=1),
    "path": pathlib.PurePosixPath("a/b"),
    "address": ipaddress.ip_address("127.0.0.1"),
    "deque": collections.deque([1, 2], 3),
    "ordered dict": collections.OrderedDict([((1, 2), 3)]),
    "counter": collections.Counter("aab"),
    "default dict": collections.defaultdict(list, {1: [2]}),
    "array": array.array("d", [1.0, 2.0]),
    "bytearray": bytearray(b"abc" * 100),
    "range": range(3),
    "slice": slice(1, None),
    "complex": 1j,
    "sets": [{1, (2, 3)}, frozenset([frozenset([1])])],
    "dict of any keys": {1: 2, (1, (2, 3)): {None: 1.5}, b"b": [], frozenset([1]): {}},
    "exception": queue.Empty("none"),
    "partial": functools.partial(int, base=2),
    "namespace": types.SimpleNamespace(a=1),
    "method": "abc".upper,
    "big numbers": [2**31, 2**64, -(2**2048), 1e300],
    "unicode": "é" * 300 + "\ud800\N{GRINNING FACE}",
    "large bytes": b"x" * 200_000,
    "large list": [[n, {str(n): n}] for n in range(3000)],
    "shared and looped": [shared, shared, loop],
    "primitives": [None, True, False, 0, 255, 256, 65536, -1, 1.5, "", b"", (), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4)],
}
