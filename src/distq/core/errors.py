"""The root of distq's errors, and those that the law itself raises."""

from typing import ClassVar


class DistqError(Exception):
    """Something went wrong that a person can mend: `str()` is a sentence, `hint` says what to do."""

    code: ClassVar[str] = "ERROR"
    """A short stable word for programs and the wire."""
    hint: ClassVar[str] = ""
    exit_code: ClassVar[int] = 1
    """What a command that ends with this error exits with: 2 usage and settings, 3 cannot reach, 4 the store."""


class QueueFull(DistqError):
    """The queue holds as many tasks as its capacity allows; nothing of the submit was taken."""

    code = "QUEUE_FULL"
    hint = "Wait until workers have caught up, add workers, or raise DISTQ_CAPACITY."


class PayloadTooLarge(DistqError):
    """The task's arguments are larger than the master takes."""

    code = "PAYLOAD_TOO_LARGE"
    hint = "Pass a reference (a path, a key) instead of the data, or raise DISTQ_PAYLOAD_BYTES_MAX."
