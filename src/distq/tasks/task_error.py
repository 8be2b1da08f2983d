"""The base of every error that a future raises for its task."""

from distq.core.errors import DistqError


class TaskError(DistqError):
    """The base of every error that a future raises for its task."""

    code = "TASK"
