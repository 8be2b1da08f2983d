"""Frames: a length and a body of that length, as `multiprocessing.connection` writes them.

The length is a signed 32-bit number, or -1 followed by an unsigned 64-bit number for bodies above 2 GiB.
The reader checks its limit as soon as the length is known, before it keeps a single byte of the body, and may change
the limit between two frames: a peer that has not proved a key costs at most 256 bytes.
"""

from struct import Struct

from distq.wire.errors import FrameTooLarge

SHORT_BODY_BYTES_MAX = 0x7FFFFFFF

_SHORT = Struct("!i")
_LONG = Struct("!iQ")
_UINT64 = Struct("!Q")
_UINT32_MASK = 0xFFFFFFFF

# Up to this size a copy is cheaper than a second element in a vectored send.
JOIN_BYTES_MAX = 16 * 1024

Buffer = bytes | memoryview


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
        return (header(len(body)) + body,)
    return (header(len(body)), body)


class Framer:
    """Cuts a stream of bytes into frames, none of them longer than `limit_bytes`."""

    __slots__ = ("_buffer", "_unwanted_bytes", "limit_bytes")

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self._buffer = bytearray()
        self._unwanted_bytes = 0

    @property
    def partial(self) -> bool:
        """Whether the stream is in the middle of a frame."""
        return bool(self._buffer or self._unwanted_bytes)

    def feed(self, data: bytes) -> list[bytes]:
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

    def push(self, data: bytes) -> None:
        """Take bytes, to be read with `pull`."""
        self._buffer += data
        if self._unwanted_bytes:
            self._drop()

    def whole(self, data: bytes) -> bytes | None:
        """Return the body if `data` is exactly one frame and the buffer is empty; else do nothing and return None.

        Most of the time one read is one call, which then needs no buffer.
        """
        body_bytes = len(data) - _SHORT.size
        if (
            self._buffer
            or self._unwanted_bytes
            or not 0 <= body_bytes <= self.limit_bytes
            or _SHORT.unpack_from(data)[0] != body_bytes
        ):
            return None
        return data[_SHORT.size :]

    def skip(self) -> None:
        """Drop the next frame, whose length is known, as it arrives; after FrameTooLarge, `pull` then reads on."""
        head = self._head()
        assert head is not None
        self._unwanted_bytes = sum(head)
        self._drop()

    def pull(self) -> bytes | None:
        """Return the next complete frame, or None if more bytes are needed.

        Raises:
            FrameTooLarge: the next frame's length exceeds the limit.
        """
        head = self._head()
        if head is None:
            return None
        start, body_bytes = head
        if body_bytes > self.limit_bytes:
            raise FrameTooLarge(body_bytes, self.limit_bytes)
        buffer = self._buffer
        end = start + body_bytes
        if len(buffer) < end:
            return None
        with memoryview(buffer) as view:
            frame = bytes(view[start:end])
        del buffer[:end]
        return frame

    def _head(self) -> tuple[int, int] | None:
        """Return the bytes of the next length and of its body, or None if more bytes are needed."""
        buffer = self._buffer
        held = len(buffer)
        if held < _SHORT.size:
            return None
        body_bytes: int = _SHORT.unpack_from(buffer)[0]
        if body_bytes >= 0:
            return _SHORT.size, body_bytes
        if body_bytes != -1:
            # No program of the standard library writes this; as an unsigned number it is above any limit.
            return _SHORT.size, body_bytes & _UINT32_MASK
        return (_LONG.size, _UINT64.unpack_from(buffer, _SHORT.size)[0]) if held >= _LONG.size else None

    def _drop(self) -> None:
        dropped = min(len(self._buffer), self._unwanted_bytes)
        del self._buffer[:dropped]
        self._unwanted_bytes -= dropped
