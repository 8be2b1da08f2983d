"""The serving side of one connection: it turns bytes into events.

    reader = ServerReader(keys, nonce, frame_bytes_max)
    send(reader.start())
    for event in reader.receive(data): ...

The caller must handle the events in their order. They are the same however the network cuts the bytes. `receive`
returns at most `EVENTS_MAX`; while `has_more`, `receive(b"")` returns further ones. After `Closed` the reader returns
no more events.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

from distq.wire.errors import AuthenticationFailed, BadCall, FrameTooLarge
from distq.wire.framing import SHORT_BODY_BYTES_MAX, Buffer, Framer, pack
from distq.wire.handshake import HANDSHAKE_FRAME_BYTES_MAX, ServerHandshake
from distq.wire.inert import InertCall, read_call
from distq.wire.messages import refused

EVENTS_MAX: Final = 16
"""Maximum events of one `receive`: one read may bring a thousand calls, whose unpickling delays all other peers."""


class Send(NamedTuple):
    """Bytes to send now."""

    data: bytes


class Authenticated(NamedTuple):
    """Both ends have proved the key; calls may follow."""


class PeerRefused(NamedTuple):
    """A frame was not a call, or too large; `reply` is the whole frame to send as its answer, with its length."""

    reply: bytes
    is_too_large: bool = False


class Closed(NamedTuple):
    """The caller must close the connection, after it has written the bytes of all earlier `Send` events."""

    reason: str
    authentication_failed: bool
    refusal: bytes = b""
    """Bytes to send before the close, now or later, if the peer has a wrong key."""


Event = Send | Authenticated | InertCall | PeerRefused | Closed


class ServerReader:
    """One connection as the master sees it: a handshake, then calls."""

    __slots__ = (
        "_closed",
        "_frame_bytes_max",
        "_framer",
        "_handshake",
        "authenticated",
        "has_more",
        "key",
        "room",
    )

    def __init__(self, keys: Sequence[bytes], nonce: bytes, frame_bytes_max: int) -> None:
        self.authenticated = False
        self.key = b""
        """The key that the peer has proved, empty before."""
        self.room: memoryview | None = None
        """The buffer to receive the next bytes of a large frame into, before `received`; None: use `receive`."""
        self.has_more = False
        """Whether the bytes received so far may contain further events."""
        self._closed = False
        self._frame_bytes_max = frame_bytes_max
        self._framer = Framer(HANDSHAKE_FRAME_BYTES_MAX)
        self._handshake: ServerHandshake | None = ServerHandshake(keys, nonce)
        """None from its end on: a master keeps thousands of connections."""

    def start(self) -> bytes:
        """Return the first bytes to send."""
        assert self._handshake is not None
        return pack(self._handshake.start())

    @property
    def held_bytes(self) -> int:
        """Number of bytes of an incomplete large frame that have arrived."""
        return self._framer.held_bytes

    def received(self, count: int) -> bool:
        """Take the first `count` bytes of `room`; True if they complete the frame: `receive(b"")` returns its event.

        An event loop that still holds `room` releases it first, or the frame would be copied.
        """
        self._framer.received(count)
        self.room = self._framer.room
        return self.room is None

    def receive(self, data: Buffer) -> list[Event]:
        """Take bytes that were read from the connection, return their events."""
        framer = self._framer
        whole = framer.whole(data)
        if whole is not None and self.authenticated:
            return [_read(whole)]
        events: list[Event] = []
        if self._closed:
            return events
        if whole is not None:
            self._shake(whole, events)
            return events
        framer.push(data)
        self.has_more = False
        while not self._closed:
            if len(events) >= EVENTS_MAX:
                self.has_more = True
                break
            try:
                frame = framer.pull()
            except FrameTooLarge as exc:
                self._pass_over(exc, events)
                continue
            if frame is None:
                break
            if self.authenticated:
                events.append(_read(frame))
            else:
                self._shake(frame, events)
        self.room = self._framer.room
        return events

    def _pass_over(self, exc: FrameTooLarge, events: list[Event]) -> None:
        """Refuse a frame that is too large. Its body is read and dropped: a client that still sends reads no answer."""
        if self.authenticated:
            reply = pack(refused(f"{exc} {exc.hint}"))
            if exc.frame_bytes <= SHORT_BODY_BYTES_MAX:
                self._framer.skip()
                events.append(PeerRefused(reply, is_too_large=True))
                return
            events.append(Send(reply))
        self._close(events, str(exc), authentication_failed=False)

    def _shake(self, frame: bytes, events: list[Event]) -> None:
        handshake = self._handshake
        assert handshake is not None
        try:
            events += [Send(pack(body)) for body in handshake.receive(frame)]
        except AuthenticationFailed as exc:
            refusal = b"" if exc.reply is None else pack(exc.reply)
            self._close(events, str(exc), authentication_failed=True, refusal=refusal)
            return
        if handshake.done:
            self.authenticated = True
            self.key = handshake.key
            self._handshake = None
            self._framer.limit_bytes = self._frame_bytes_max
            self._framer.takes_split = True
            events.append(Authenticated())

    def _close(self, events: list[Event], reason: str, *, authentication_failed: bool, refusal: bytes = b"") -> None:
        self._closed = True
        self.authenticated = False
        self._framer = Framer(0)
        events.append(Closed(reason, authentication_failed, refusal))


def _read(frame: bytes) -> InertCall | PeerRefused:
    try:
        return read_call(frame)
    except BadCall as exc:
        return PeerRefused(pack(refused(str(exc))))
