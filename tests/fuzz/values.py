"""Plain values from bytes: a fuzzer changes bytes, and the readers of `protocol/` take values."""

import struct
from collections.abc import Callable, Mapping
from typing import Any, Final

from distq.wire.inert import Inert

DEPTH_MAX: Final = 6
WORDS: Final[tuple[Any, ...]] = (
    *("client", "worker", "executor", "cli", "role", "protocol", "session", "name", "version", "python", "split"),
    *("pool", "host", "pid", "slots", "queues", "plain", "tasks", "labels", "holds", "index", "states"),
    *("rss", "busy", "draining", "exits", "progress", "stacks", "ends", "memory", "limit", "unknown", "lost"),
    *("q", "f", "task", "", "x" * 200, "\ud800", "every", "cron", "timezone", "overlap", "catch_up", "more", "when"),
    *(0.0, -0.0, 1e308, float("nan"), float("inf"), float("-inf"), 2**53, 2**63, -(2**63), 10**400, (1, 1), [1, 1]),
)
"""Values that a random change of bytes seldom makes, and that a reader may treat specially."""


class Source:
    """Makes one value after another from the bytes of an input; at their end every value is None."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def take(self, count: int) -> bytes:
        """Return the next `count` bytes, fewer at the end."""
        self._at += count
        return self._data[self._at - count : self._at]

    def number(self) -> int:
        """Return the next byte, 0 at the end."""
        taken = self.take(1)
        return taken[0] if taken else 0

    def value(self, depth: int = 0) -> Any:
        """Return the next value."""
        kind = self.number() & 15
        if kind >= 9 and depth < DEPTH_MAX and kind <= 11:
            items = [self.value(depth + 1) for _ in range(self.number() & 7)]
            if kind == 9:
                return items
            return tuple(items) if kind == 10 else {key: self.value(depth + 1) for key in map(str, items)}
        return self._scalar(kind)

    def _scalar(self, kind: int) -> Any:
        read = _SCALARS.get(kind)
        return None if read is None else read(self)


_SCALARS: Final[Mapping[int, Callable[[Source], Any]]] = {
    1: lambda _: True,
    2: lambda _: False,
    3: lambda source: source.number() - 128,
    4: lambda source: int.from_bytes(source.take(8), "big", signed=True),
    5: lambda source: 1 << source.number(),
    6: lambda source: struct.unpack("!d", source.take(8).ljust(8, b"\0"))[0],
    7: lambda source: source.take(source.number()).decode(errors="replace"),
    8: lambda source: source.take(source.number()),
    12: lambda source: WORDS[source.number() % len(WORDS)],
    13: lambda source: WORDS[source.number() % len(WORDS)],
    14: lambda _: Inert,
}
"""How to read a value without parts, by its kind; None for each other kind."""
