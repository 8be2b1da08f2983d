"""The errors of the wire protocol."""

from distq.core.errors import DistqError


class WireError(DistqError):
    """A peer's bytes are not what the protocol allows."""

    code = "WIRE"
    hint = "Check that both ends speak BaseManager's protocol and that nothing between them alters the bytes."


class FrameTooLarge(WireError):
    """A peer announced a frame that is longer than this connection accepts."""

    code = "FRAME_TOO_LARGE"
    hint = "Send less in one call, or raise DISTQ_FRAME_BYTES_MAX where it was refused."

    def __init__(self, frame_bytes: int, limit_bytes: int) -> None:
        super().__init__(f"A frame of {frame_bytes:,} bytes was announced; {limit_bytes:,} are accepted here.")
        self.frame_bytes = frame_bytes
        self.limit_bytes = limit_bytes


class AuthenticationFailed(WireError):
    """The two ends do not have the same authkey; `reply` is the body to send to the other end before the close."""

    code = "AUTHENTICATION_FAILED"
    hint = "Give both ends the same DISTQ_AUTHKEY."
    exit_code = 3

    def __init__(self, sentence: str, reply: bytes | None = None) -> None:
        super().__init__(sentence)
        self.reply = reply


class TlsFailed(AuthenticationFailed):
    """The two ends make no TLS connection; the text says why, and what to do."""

    code = "TLS_FAILED"
    hint = ""


class BadCall(WireError):
    """A frame is not a call, or the call lacks an argument; the connection stays usable."""

    code = "BAD_CALL"
    hint = ""


class NoSuchTask(WireError):
    """The master does not know the task."""

    code = "NO_SUCH_TASK"
    hint = "It may have ended longer ago than its result is kept (DISTQ_RESULT_TTL_S), or be another master's."


class BadReply(WireError):
    """The reply in a frame cannot be read by this process; `body` is the frame."""

    code = "BAD_REPLY"
    hint = "See that what the reply carries can be imported here."

    def __init__(self, sentence: str, body: bytes) -> None:
        super().__init__(sentence)
        self.body = body


class RemoteRefusal(WireError):
    """The other end refused a call; `str()` is the reason that it sent."""

    code = "REFUSED"
    hint = ""
