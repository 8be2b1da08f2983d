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


class TasksFull(DistqError):
    """The master keeps as many tasks and results as it may; nothing of the submit was taken."""

    code = "TASKS_FULL"
    hint = "Wait until results have gone, keep them for less long (DISTQ_RESULT_TTL_S), or raise DISTQ_TASKS_MAX."


class TooManyNames(DistqError):
    """There are too many queues."""

    code = "TOO_MANY_NAMES"
    hint = "Queues are for kinds of tasks: put what differs from task to task into the arguments; unused queues go."


class PayloadTooLarge(DistqError):
    """The task's arguments are larger than the master takes."""

    code = "PAYLOAD_TOO_LARGE"
    hint = "Pass a reference (a path, a key) instead of the data, or raise DISTQ_PAYLOAD_BYTES_MAX."


class TaskExists(DistqError):
    """Another task of the queue has the unique key; nothing was submitted."""

    task_id: str
    """The id of the task that has the unique key."""

    code = "TASK_EXISTS"
    hint = "It goes on. To have its future instead, submit with on_conflict='return'; to replace it, 'replace'."


class Undecided(Exception):
    """The present cycle decides what was asked about: ask again in the next one."""
