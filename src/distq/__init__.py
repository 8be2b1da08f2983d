"""distq: the distributed task queue that is deployed, not assembled."""

from distq._version import __version__

# As in `typing`, whose import takes longer than all that a service does before it hears SIGTERM.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from distq.client.client import Client as Client
    from distq.client.future import FutureOfParent as FutureOfParent
    from distq.client.future import TaskFuture as TaskFuture
    from distq.client.inside_task import NoSlotLeft as NoSlotLeft
    from distq.client.locks import CalledInside as CalledInside
    from distq.client.outcome import ResultUnreadable as ResultUnreadable
    from distq.client.refusals import RefusedSubmit as RefusedSubmit
    from distq.client.submitter import NotPicklable as NotPicklable
    from distq.core.errors import DistqError as DistqError
    from distq.core.errors import QueueFull as QueueFull
    from distq.core.errors import TaskExists as TaskExists
    from distq.core.schedule import BadSchedule as BadSchedule
    from distq.managers import QueueManager as QueueManager
    from distq.net.dial import CannotReach as CannotReach
    from distq.tasks.call import Call as Call
    from distq.tasks.call import call as call
    from distq.tasks.control import Discard as Discard
    from distq.tasks.control import Interrupted as Interrupted
    from distq.tasks.control import Retry as Retry
    from distq.tasks.control import Snooze as Snooze
    from distq.tasks.current import Current as Current
    from distq.tasks.current import Progress as Progress
    from distq.tasks.current import current as current
    from distq.tasks.failure import ResultNotSent as ResultNotSent
    from distq.tasks.failure import TaskCancelled as TaskCancelled
    from distq.tasks.failure import TaskExpired as TaskExpired
    from distq.tasks.failure import TaskFailed as TaskFailed
    from distq.tasks.failure import TaskLost as TaskLost
    from distq.tasks.failure import TaskStopped as TaskStopped
    from distq.tasks.failure import TimeLimitExceeded as TimeLimitExceeded
    from distq.tasks.function import task as task
    from distq.tasks.lifespan import Lifespan as Lifespan
    from distq.tasks.lifespan import LifespanUnusable as LifespanUnusable
    from distq.tasks.lifespan import injected as injected
    from distq.tasks.lifespan import lifespan as lifespan

__all__ = [
    "BadSchedule",
    "Call",
    "CalledInside",
    "CannotReach",
    "Client",
    "Current",
    "Discard",
    "DistqError",
    "FutureOfParent",
    "Interrupted",
    "Lifespan",
    "LifespanUnusable",
    "NoSlotLeft",
    "NotPicklable",
    "Progress",
    "QueueFull",
    "QueueManager",
    "RefusedSubmit",
    "ResultNotSent",
    "ResultUnreadable",
    "Retry",
    "Snooze",
    "TaskCancelled",
    "TaskExists",
    "TaskExpired",
    "TaskFailed",
    "TaskFuture",
    "TaskLost",
    "TaskStopped",
    "TimeLimitExceeded",
    "__version__",
    "call",
    "current",
    "injected",
    "lifespan",
    "task",
]

# Imported when asked for: an executor, which needs none of it, starts faster.
_HOMES = {
    "BadSchedule": "distq.core.schedule",
    "Call": "distq.tasks.call",
    "CalledInside": "distq.client.locks",
    "CannotReach": "distq.net.dial",
    "Client": "distq.client.client",
    "Current": "distq.tasks.current",
    "Discard": "distq.tasks.control",
    "DistqError": "distq.core.errors",
    "FutureOfParent": "distq.client.future",
    "Interrupted": "distq.tasks.control",
    "Lifespan": "distq.tasks.lifespan",
    "LifespanUnusable": "distq.tasks.lifespan",
    "NotPicklable": "distq.client.submitter",
    "Progress": "distq.tasks.current",
    "QueueFull": "distq.core.errors",
    "QueueManager": "distq.managers",
    "RefusedSubmit": "distq.client.refusals",
    "ResultNotSent": "distq.tasks.failure",
    "NoSlotLeft": "distq.client.inside_task",
    "ResultUnreadable": "distq.client.outcome",
    "Retry": "distq.tasks.control",
    "Snooze": "distq.tasks.control",
    "TaskCancelled": "distq.tasks.failure",
    "TaskExists": "distq.core.errors",
    "TaskExpired": "distq.tasks.failure",
    "TaskFailed": "distq.tasks.failure",
    "TaskFuture": "distq.client.future",
    "TaskLost": "distq.tasks.failure",
    "TaskStopped": "distq.tasks.failure",
    "TimeLimitExceeded": "distq.tasks.failure",
    "call": "distq.tasks.call",
    "current": "distq.tasks.current",
    "injected": "distq.tasks.lifespan",
    "lifespan": "distq.tasks.lifespan",
    "task": "distq.tasks.function",
}


def __getattr__(name: str) -> object:
    if name in _HOMES:
        import importlib  # noqa: PLC0415 - a service hears SIGTERM sooner

        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
