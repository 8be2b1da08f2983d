"""The messages that carry what tasks print and log from an executor to its supervisor, on a pipe of their own.

An executor writes each message in pieces of at most `PIPE_BUF` bytes, and the kernel never splits such a piece:
threads, and processes that a task has forked, write to the same pipe without a lock. All pieces of one message have its
number. The pipe blocks: a task that prints faster than the supervisor logs waits for the supervisor.
"""

import itertools
import json
import os
import struct
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from distq.core.plurals import counted

_PIECE: Final = struct.Struct("!HBQ")
"""The header of a piece: its size in bytes, whether it is the message's last piece, and the message's number."""
_PIECE_BYTES_MAX: Final = 4_000
TEXT_CHARS_MAX: Final = 16_000
"""Maximum characters of one printed line, message or traceback; the rest is cut off."""
_UNFINISHED_MAX: Final = 64
"""Maximum messages that the supervisor keeps without their last piece; a killed forked process never sends it."""
_MESSAGE_BYTES_MAX: Final = 1_000_000


class Printed(NamedTuple):
    """A text that a task has written to its standard output or error; it may hold several lines or a part of one."""

    task_id: str
    """The task's id; '' if it is not known."""
    stream: str
    text: str


class Logged(NamedTuple):
    """A record of Python's logging."""

    task_id: str
    level: int
    level_name: str
    logger: str
    message: str
    traceback: str
    extra: dict[str, Any]


Message = Printed | Logged
_KINDS: Final = {kind.__name__: kind for kind in (Printed, Logged)}


class MessageWriter:
    """Writes messages to the executor's end of the pipe."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._numbers = itertools.count()

    def write(self, message: Message) -> None:
        """Write a message: wait while the pipe is full, and drop the message if the supervisor has ended."""
        data = json.dumps((type(message).__name__, *message), default=repr).encode()
        number = os.getpid() << 32 | next(self._numbers) & 0xFFFF_FFFF
        try:
            for at in range(0, len(data), _PIECE_BYTES_MAX):
                piece = data[at : at + _PIECE_BYTES_MAX]
                os.write(self._fd, _PIECE.pack(len(piece), at + len(piece) == len(data), number) + piece)
        except OSError:
            pass


class MessageReader:
    """Converts the bytes of the pipe to messages in the supervisor.

    It ignores bytes that are no message, because a task's own code can write to this pipe too.
    """

    def __init__(self) -> None:
        self._data = b""
        self._unfinished: dict[int, bytes] = {}

    def feed(self, data: bytes) -> Iterator[Message]:
        """Add bytes, and yield the messages that they complete."""
        self._data += data
        at = 0
        while len(self._data) >= (begins_at := at + _PIECE.size):
            size, is_last, number = _PIECE.unpack_from(self._data, at)
            if len(self._data) < begins_at + size:
                break
            at = begins_at + size
            whole = self._unfinished.pop(number, b"") + self._data[begins_at:at]
            if is_last:
                yield from _read(whole)
            elif len(whole) <= _MESSAGE_BYTES_MAX:
                self._unfinished[number] = whole
                if len(self._unfinished) > _UNFINISHED_MAX:
                    del self._unfinished[next(iter(self._unfinished))]
        self._data = self._data[at:]


def _read(data: bytes) -> Iterator[Message]:
    try:
        kind, *fields = json.loads(data)
        yield _KINDS[kind](*fields)
    except (ValueError, TypeError, KeyError):
        pass


class LineSplitter:
    """Splits the text of one writer into whole lines, each as a terminal would finally show it.

    A carriage return starts the line again, so that only the last state of a progress bar remains.
    """

    __slots__ = ("_cut_count", "_part")

    def __init__(self) -> None:
        self._part = ""
        self._cut_count = 0

    def __bool__(self) -> bool:
        """Whether a line has begun and not ended."""
        return bool(self._part)

    def feed(self, text: str) -> Iterator[str]:
        """Add text, and yield the lines that have ended, without the blank ones."""
        *whole, rest = text.split("\n")
        for line in whole:
            self._add(line)
            if ended := self.end():
                yield ended
        self._add(rest)

    def end(self) -> str:
        """End the line that has begun, and return it; '' if no line has begun, or it is blank."""
        line = self._part.rstrip("\r")
        if self._cut_count:
            line += f"… ({counted(self._cut_count, 'more character')})"
        self._part, self._cut_count = "", 0
        return line if line.strip() else ""

    def _add(self, text: str) -> None:
        seen = (self._part + text).rstrip("\r")
        if "\r" in seen:
            returns = len(self._part) + len(text) - len(seen)
            seen = seen.rsplit("\r", 1)[1]
            self._cut_count = 0
            self._part = seen + "\r" * bool(returns)
        else:
            self._part += text
        if len(self._part) > TEXT_CHARS_MAX:
            self._cut_count += len(self._part) - TEXT_CHARS_MAX
            self._part = self._part[:TEXT_CHARS_MAX]
