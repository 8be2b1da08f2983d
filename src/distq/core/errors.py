"""The base class of distq's errors, and the errors that the ledger raises."""

from typing import ClassVar, TypeVar

Error = TypeVar("Error", bound=BaseException)


class DistqError(Exception):
    """An error that a user or an operator can correct: `str()` is a sentence, `hint` says what to do."""

    code: ClassVar[str] = "ERROR"
    """A short word that stays the same in all versions, for programs and the protocol."""
    hint: ClassVar[str] = ""
    exit_code: ClassVar[int] = 1
    """Exit code of a command that ends with this error: 2 usage or settings, 3 no connection, 4 the store."""


def with_hint(error: Error) -> Error:
    """The same error; one of distq has its hint as a note, which a traceback shows after the message."""
    if isinstance(error, DistqError) and error.hint and not getattr(error, "__notes__", None):
        error.add_note(error.hint)
    return error


class QueueFull(DistqError):
    """The queue has as many tasks as its capacity allows; the master accepted no task of the submit."""

    code = "QUEUE_FULL"
    hint = "Wait until workers have caught up, add workers, or raise DISTQ_CAPACITY."


class TasksFull(DistqError):
    """The master has as many tasks and results as its settings allow; it accepted no task of the submit."""

    code = "TASKS_FULL"
    hint = "Wait until results have gone, keep them for less long (DISTQ_RESULT_TTL_S), or raise the limit."


class TooManyNames(DistqError):
    """The master has the maximum number of queues and refuses one more."""

    code = "TOO_MANY_NAMES"
    hint = "Queues are for kinds of tasks: put what differs from task to task into the arguments; unused queues go."


class PayloadTooLarge(DistqError):
    """The arguments of a task are larger than the master accepts."""

    code = "PAYLOAD_TOO_LARGE"
    hint = "Pass a reference (a path, a key) instead of the data, or raise DISTQ_PAYLOAD_BYTES_MAX."


class TaskExists(DistqError):
    """Another task of the queue has the unique key; the master accepted no task."""

    task_id: str
    """The id of the task that has the unique key."""

    code = "TASK_EXISTS"
    hint = "It goes on. To have its future instead, submit with on_conflict='return'; to replace it, 'replace'."


class Undecided(Exception):
    """The present cycle changes what the request depends on; the request must repeat in the next cycle."""
