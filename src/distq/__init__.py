"""distq: the distributed task queue that is deployed, not assembled."""

import importlib
from typing import TYPE_CHECKING

from distq._version import __version__

if TYPE_CHECKING:
    from distq.client.client import Client as Client
    from distq.client.client import NotPicklable as NotPicklable
    from distq.client.future import ResultUnreadable as ResultUnreadable
    from distq.client.future import TaskFuture as TaskFuture
    from distq.client.submits import RefusedSubmit as RefusedSubmit
    from distq.core.errors import DistqError as DistqError
    from distq.managers import QueueManager as QueueManager
    from distq.tasks.failure import TaskCancelled as TaskCancelled
    from distq.tasks.failure import TaskExpired as TaskExpired
    from distq.tasks.failure import TaskFailed as TaskFailed
    from distq.tasks.failure import TaskLost as TaskLost
    from distq.tasks.failure import TimeLimitExceeded as TimeLimitExceeded
    from distq.tasks.function import task as task

__all__ = [
    "Client",
    "DistqError",
    "NotPicklable",
    "QueueManager",
    "RefusedSubmit",
    "ResultUnreadable",
    "TaskCancelled",
    "TaskExpired",
    "TaskFailed",
    "TaskFuture",
    "TaskLost",
    "TimeLimitExceeded",
    "__version__",
    "task",
]

# Imported when asked for: an executor, which needs none of it, starts faster.
_HOMES = {
    "Client": "distq.client.client",
    "DistqError": "distq.core.errors",
    "NotPicklable": "distq.client.client",
    "QueueManager": "distq.managers",
    "RefusedSubmit": "distq.client.submits",
    "ResultUnreadable": "distq.client.future",
    "TaskCancelled": "distq.tasks.failure",
    "TaskExpired": "distq.tasks.failure",
    "TaskFailed": "distq.tasks.failure",
    "TaskFuture": "distq.client.future",
    "TaskLost": "distq.tasks.failure",
    "TimeLimitExceeded": "distq.tasks.failure",
    "task": "distq.tasks.function",
}


def __getattr__(name: str) -> object:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
