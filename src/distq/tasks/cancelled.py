"""The error of a task that was cancelled; apart from the other errors, as executors start faster without its import."""

from concurrent.futures import CancelledError

from distq.tasks.task_error import TaskError


class TaskCancelled(TaskError, CancelledError):
    """An operator or another program cancelled the task before it ended.

    It is a `concurrent.futures.CancelledError` too, so that one `except` catches every cancelled task. In asyncio it
    stays an ordinary exception: the coroutine that awaits the task was not cancelled itself.
    """

    code = "TASK_CANCELLED"
