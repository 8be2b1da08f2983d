"""Frames: a length and a body of that length, as `multiprocessing.connection` writes them.

The length is a signed 32-bit number, or -1 followed by an unsigned 64-bit number for bodies above 2 GiB.
The reader checks its limit as soon as the length is known, before it keeps a single byte of the body, and may change
the limit between two frames: a peer that has not proved a key costs at most 256 bytes.

Two of distq's own peers that have agreed on it in the greeting also send split frames: a pickle, and beside it large
payloads and results, which the pickle refers to as out-of-band buffers. A split frame begins with -2, the number of
these parts, the length of the pickle, and their lengths. The sender copies none of them; the reader receives each into
a buffer of its own, which then is the part.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from io import BytesIO
from struct import Struct

from distq.wire.errors import FrameTooLarge

SHORT_BODY_BYTES_MAX = 0x7FFFFFFF

_SHORT = Struct("!i")
_SHORT_BYTES = _SHORT.size
_LONG = Struct("!iQ")
_UINT64 = Struct("!Q")
_SPLIT = Struct("!iIQ")
_SPLIT_MARK = -2
_UINT32_MASK = 0xFFFFFFFF

# Up to this size a copy is cheaper than a second element in a vectored send.
JOIN_BYTES_MAX = 16 * 1024

OWN_BUFFER_BYTES_MIN = 64 * 1024
"""Minimum bytes of a frame that is received into a buffer of its own; for a smaller one, which a single read brings,
the event loop's next turn costs more than a copy."""
PART_BYTES_MIN = 16 * 1024
"""Minimum bytes of a payload or result that travels beside the pickle; the copy of a smaller one costs less."""
PARTS_MAX = 1000
"""Maximum parts beside a pickle: with it they fit one vectored write, which takes 1,024 buffers."""

Buffer = bytes | memoryview


class SplitFrame(bytes):
    """The pickle of a split frame; `parts` has the bytes that have travelled beside it, in the order of its uses."""

    parts: Sequence[bytes] = ()


def size_of(frame: bytes) -> int:
    """Return the number of bytes of a frame with the parts that have travelled beside its pickle."""
    return len(frame) + sum(map(len, frame.parts)) if isinstance(frame, SplitFrame) else len(frame)


def header(body_bytes: int) -> bytes:
    """Return the length that goes before a body of `body_bytes` bytes."""
    if body_bytes > SHORT_BODY_BYTES_MAX:
        return _LONG.pack(-1, body_bytes)
    return _SHORT.pack(body_bytes)


def pack(body: bytes) -> bytes:
    """Return a body with its length before it, ready to be sent."""
    return header(len(body)) + body


def pack_parts(body: bytes) -> tuple[bytes, ...]:
    """Return what to send for a body in one vectored write; a large body is not copied."""
    if len(body) <= JOIN_BYTES_MAX:
        return (_SHORT.pack(len(body)) + body,)
    return (header(len(body)), body)


def pack_split(pickled: bytes, parts: Sequence[Buffer]) -> tuple[Buffer, ...]:
    """Return what to send for a split frame in one vectored write; the parts are not copied."""
    table = b"".join([_UINT64.pack(len(part)) for part in parts])
    return (_SPLIT.pack(_SPLIT_MARK, len(parts), len(pickled)) + table + pickled, *parts)


class _Part(BytesIO):
    """The buffer of one part of a large frame."""

    __slots__ = ()

    def close(self) -> None:
        """Ignore views of the buffer: the garbage collector closes it before it frees those of an ended connection."""
        with suppress(BufferError):
            super().close()


class _LargeFrame:
    """A frame of which some bytes are missing; it is received into one buffer, or into one for each part."""

    __slots__ = ("_is_split", "_parts", "_sizes", "held_bytes", "room")

    def __init__(self, sizes: Sequence[int], *, is_split: bool) -> None:
        self._sizes = sizes
        self._is_split = is_split
        self.held_bytes = 0
        """Number of bytes that have arrived."""
        self._parts: list[_Part] = []
        """The buffers of the parts that have begun."""
        self.room: memoryview | None = None
        """Where the next bytes go; None once the frame is complete."""
        self._begin_part()

    def _begin_part(self) -> None:
        """Make the buffer of the next part that is not empty."""
        for size in self._sizes[len(self._parts) :]:
            # The only kind of buffer that can be written, and then be taken as `bytes` without a copy. The system gives
            # a large one its memory as it is written: a length alone costs none.
            part = _Part(bytes(size))
            self._parts.append(part)
            if size:
                self.room = part.getbuffer()
                return
        self.room = None

    def received(self, count: int) -> None:
        """Note that the first `count` bytes of `room` were written."""
        room = self.room
        assert room is not None
        self.held_bytes += count
        if count < len(room):
            self.room = room[count:]
        else:
            with suppress(BufferError):  # an event loop that has received into it still holds it for this call
                room.release()
            self._begin_part()

    def take(self, data: Buffer) -> int:
        """Copy the bytes that belong to this frame, and return their number."""
        taken = 0
        while taken < len(data) and (room := self.room) is not None:
            count = min(len(room), len(data) - taken)
            room[:count] = data[taken : taken + count]
            self.received(count)
            taken += count
        return taken

    @property
    def frame(self) -> bytes:
        """The complete frame; its bytes are copied only while something still holds the last `room`."""
        first, *parts = [part.getvalue() for part in self._parts]
        if not self._is_split:
            return first
        split = SplitFrame(first)
        split.parts = parts
        return split


class Framer:
    """Cuts a stream of bytes into frames, none of them longer than `limit_bytes`."""

    __slots__ = ("_buffer", "_large", "_unwanted_bytes", "limit_bytes", "takes_split")

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self.takes_split = False
        """Whether the other end may send split frames."""
        self._buffer = bytearray()
        self._large: _LargeFrame | None = None
        self._unwanted_bytes = 0

    @property
    def partial(self) -> bool:
        """Whether the stream is in the middle of a frame."""
        return bool(self._buffer or self._unwanted_bytes or self._large is not None)

    @property
    def room(self) -> memoryview | None:
        """The buffer to receive the next bytes of a large frame into, before `received`; None: use `push`."""
        return None if self._large is None else self._large.room

    @property
    def held_bytes(self) -> int:
        """Number of bytes of a large frame that have arrived; 0 for a complete or a small one."""
        return 0 if self._large is None else self._large.held_bytes

    def received(self, count: int) -> None:
        """Note that the first `count` bytes of `room` were received."""
        assert self._large is not None
        self._large.received(count)

    def feed(self, data: Buffer) -> list[bytes]:
        """Take bytes, return the frames that are complete now.

        Raises:
            FrameTooLarge: the next frame's length exceeds the limit. Frames before it are returned first, because
                one of them may contain the reason; the next call raises, or reads on if the limit was raised meanwhile.
        """
        self.push(data)
        frames: list[bytes] = []
        try:
            while (frame := self.pull()) is not None:
                frames.append(frame)
        except FrameTooLarge:
            if not frames:
                raise
        return frames

    def push(self, data: Buffer) -> None:
        """Take bytes, to be read with `pull`."""
        if self._large is not None:
            data = memoryview(data)[self._large.take(data) :]
        self._buffer += data
        if self._unwanted_bytes:
            self._drop()

    def whole(self, data: Buffer) -> bytes | None:
        """Return the body if `data` is exactly one frame and the buffer is empty; else do nothing and return None.

        Most of the time one read is one call, which then needs no buffer.
        """
        body_bytes = len(data) - _SHORT_BYTES
        if (
            self._buffer
            or self._unwanted_bytes
            or self._large is not None
            or not 0 <= body_bytes <= self.limit_bytes
            or _SHORT.unpack_from(data)[0] != body_bytes
        ):
            return None
        return bytes(data[_SHORT_BYTES:])

    def skip(self) -> None:
        """Drop the next frame, whose length is known, as it arrives; after FrameTooLarge, `pull` then reads on."""
        head = self._head()
        assert head is not None
        start, frame_bytes, _ = head
        self._unwanted_bytes = start + frame_bytes
        self._drop()

    def pull(self) -> bytes | None:
        """Return the next complete frame, or None if more bytes are needed.

        Raises:
            FrameTooLarge: the next frame's length exceeds the limit.
        """
        if self._large is not None:
            return self._completed(self._large)
        if not self._buffer or (head := self._head()) is None:
            return None
        start, frame_bytes, sizes = head
        if frame_bytes > self.limit_bytes:
            raise FrameTooLarge(frame_bytes, self.limit_bytes)
        buffer = self._buffer
        end = start + frame_bytes
        is_split = sizes is not None
        if is_split or (len(buffer) < end and frame_bytes >= OWN_BUFFER_BYTES_MIN):
            self._large = large = _LargeFrame(sizes or (frame_bytes,), is_split=is_split)
            with memoryview(buffer) as view, view[start:] as begun:
                taken = large.take(begun)
            del buffer[: start + taken]
            return self._completed(large)
        if len(buffer) < end:
            return None
        with memoryview(buffer) as view:
            frame = bytes(view[start:end])
        del buffer[:end]
        return frame

    def _completed(self, large: _LargeFrame) -> bytes | None:
        if large.room is not None:
            return None
        self._large = None
        return large.frame

    def _head(self) -> tuple[int, int, Sequence[int] | None] | None:
        """Return the bytes of the next frame's lengths, the sum of the lengths, and those of a split frame's parts.

        None if more bytes are needed.
        """
        buffer = self._buffer
        held = len(buffer)
        if held < _SHORT.size:
            return None
        body_bytes: int = _SHORT.unpack_from(buffer)[0]
        if body_bytes >= 0:
            return _SHORT.size, body_bytes, None
        if body_bytes == _SPLIT_MARK and self.takes_split:
            return self._split_head()
        if body_bytes != -1:
            # No program of the standard library writes this; as an unsigned number it is above any limit.
            return _SHORT.size, body_bytes & _UINT32_MASK, None
        return (_LONG.size, _UINT64.unpack_from(buffer, _SHORT.size)[0], None) if held >= _LONG.size else None

    def _split_head(self) -> tuple[int, int, Sequence[int] | None] | None:
        buffer = self._buffer
        held = len(buffer)
        if held < _SPLIT.size:
            return None
        _, count, pickle_bytes = _SPLIT.unpack_from(buffer)
        if count > PARTS_MAX:
            return _SPLIT.size, _SPLIT_MARK & _UINT32_MASK, None  # no peer of distq writes this
        start = _SPLIT.size + count * _UINT64.size
        if held < start:
            return None
        table = range(_SPLIT.size, start, _UINT64.size)
        sizes = [pickle_bytes, *(_UINT64.unpack_from(buffer, at)[0] for at in table)]
        return start, sum(sizes), sizes

    def _drop(self) -> None:
        dropped = min(len(self._buffer), self._unwanted_bytes)
        del self._buffer[:dropped]
        self._unwanted_bytes -= dropped
