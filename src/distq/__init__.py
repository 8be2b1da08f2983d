"""distq: the distributed task queue that is deployed, not assembled.

PYTEST_DONT_REWRITE: a program may import distq before it starts pytest, which would warn about that.
"""

from distq._version import __version__

# As in `typing`, whose import takes longer than everything that a service does before it can handle SIGTERM.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from distq.client.aio.client import AsyncClient as AsyncClient
    from distq.client.aio.future import AsyncFuture as AsyncFuture
    from distq.client.aio.owner import WrongLoop as WrongLoop
    from distq.client.aio.submitter import AsyncSubmitter as AsyncSubmitter
    from distq.client.chains import TooManyCalls as TooManyCalls
    from distq.client.client import Client as Client
    from distq.client.encoder import Scheduled as Scheduled
    from distq.client.future import FutureOfParent as FutureOfParent
    from distq.client.future import TaskFuture as TaskFuture
    from distq.client.inside_task import NoSlotLeft as NoSlotLeft
    from distq.client.locks import CalledInside as CalledInside
    from distq.client.master_connection import NotAdmitted as NotAdmitted
    from distq.client.progress.waiting import progress as progress
    from distq.client.refusals import RefusedSubmit as RefusedSubmit
    from distq.client.submitter import Submitter as Submitter
    from distq.client.unsendable import ClassOfMain as ClassOfMain
    from distq.client.unsendable import ExtraMissing as ExtraMissing
    from distq.client.unsendable import NotPicklable as NotPicklable
    from distq.core.errors import DistqError as DistqError
    from distq.core.errors import PayloadTooLarge as PayloadTooLarge
    from distq.core.errors import QueueFull as QueueFull
    from distq.core.errors import TaskExists as TaskExists
    from distq.core.errors import TasksFull as TasksFull
    from distq.core.errors import TooManyNames as TooManyNames
    from distq.core.schedule import BadSchedule as BadSchedule
    from distq.managers import CannotStart as CannotStart
    from distq.managers import EmbeddedMaster as EmbeddedMaster
    from distq.managers import QueueManager as QueueManager
    from distq.net.dial import CannotReach as CannotReach
    from distq.net.dial import ConnectionLost as ConnectionLost
    from distq.settings import Settings as Settings
    from distq.settings import SettingsError as SettingsError
    from distq.tasks.by_value import ValueUnreadable as ValueUnreadable
    from distq.tasks.call import Call as Call
    from distq.tasks.call import call as call
    from distq.tasks.cancelled import TaskCancelled as TaskCancelled
    from distq.tasks.control import Discard as Discard
    from distq.tasks.control import Interrupted as Interrupted
    from distq.tasks.control import Retry as Retry
    from distq.tasks.control import Snooze as Snooze
    from distq.tasks.current import Current as Current
    from distq.tasks.current import NotInTask as NotInTask
    from distq.tasks.current import Progress as Progress
    from distq.tasks.current import current as current
    from distq.tasks.failure import DependencyUnreadable as DependencyUnreadable
    from distq.tasks.failure import ResultNotSent as ResultNotSent
    from distq.tasks.failure import ResultRefused as ResultRefused
    from distq.tasks.failure import ResultUnreadable as ResultUnreadable
    from distq.tasks.failure import TaskExpired as TaskExpired
    from distq.tasks.failure import TaskFailed as TaskFailed
    from distq.tasks.failure import TaskLost as TaskLost
    from distq.tasks.failure import TaskPartsGone as TaskPartsGone
    from distq.tasks.failure import TaskStopped as TaskStopped
    from distq.tasks.failure import TaskUnknown as TaskUnknown
    from distq.tasks.failure import TimeLimitExceeded as TimeLimitExceeded
    from distq.tasks.function import NotATask as NotATask
    from distq.tasks.function import TwoTasks as TwoTasks
    from distq.tasks.function import task as task
    from distq.tasks.lifespan import Lifespan as Lifespan
    from distq.tasks.lifespan import LifespanUnusable as LifespanUnusable
    from distq.tasks.lifespan import injected as injected
    from distq.tasks.lifespan import lifespan as lifespan
    from distq.tasks.seal import EncryptionUnavailable as EncryptionUnavailable
    from distq.tasks.task_error import TaskError as TaskError
    from distq.wire.errors import AuthenticationFailed as AuthenticationFailed
    from distq.wire.errors import FrameTooLarge as FrameTooLarge
    from distq.wire.errors import RemoteRefusal as RemoteRefusal
    from distq.wire.errors import WireError as WireError

__all__ = [
    "AsyncClient",
    "AsyncFuture",
    "AsyncSubmitter",
    "AuthenticationFailed",
    "BadSchedule",
    "Call",
    "CalledInside",
    "CannotReach",
    "CannotStart",
    "ClassOfMain",
    "Client",
    "ConnectionLost",
    "Current",
    "DependencyUnreadable",
    "Discard",
    "DistqError",
    "EmbeddedMaster",
    "EncryptionUnavailable",
    "ExtraMissing",
    "FrameTooLarge",
    "FutureOfParent",
    "Interrupted",
    "Lifespan",
    "LifespanUnusable",
    "NoSlotLeft",
    "NotATask",
    "NotAdmitted",
    "NotInTask",
    "NotPicklable",
    "PayloadTooLarge",
    "Progress",
    "QueueFull",
    "QueueManager",
    "RefusedSubmit",
    "RemoteRefusal",
    "ResultNotSent",
    "ResultRefused",
    "ResultUnreadable",
    "Retry",
    "Scheduled",
    "Settings",
    "SettingsError",
    "Snooze",
    "Submitter",
    "TaskCancelled",
    "TaskError",
    "TaskExists",
    "TaskExpired",
    "TaskFailed",
    "TaskFuture",
    "TaskLost",
    "TaskPartsGone",
    "TaskStopped",
    "TaskUnknown",
    "TasksFull",
    "TimeLimitExceeded",
    "TooManyCalls",
    "TooManyNames",
    "TwoTasks",
    "ValueUnreadable",
    "WireError",
    "WrongLoop",
    "__version__",
    "call",
    "current",
    "injected",
    "lifespan",
    "progress",
    "task",
]

# Modules are imported at the first use of a name: an executor, which needs few of them, starts faster.
_HOMES = {
    "AsyncClient": "distq.client.aio.client",
    "AsyncFuture": "distq.client.aio.future",
    "AsyncSubmitter": "distq.client.aio.submitter",
    "AuthenticationFailed": "distq.wire.errors",
    "BadSchedule": "distq.core.schedule",
    "Call": "distq.tasks.call",
    "CalledInside": "distq.client.locks",
    "CannotReach": "distq.net.dial",
    "CannotStart": "distq.managers",
    "ClassOfMain": "distq.client.unsendable",
    "Client": "distq.client.client",
    "ConnectionLost": "distq.net.dial",
    "Current": "distq.tasks.current",
    "DependencyUnreadable": "distq.tasks.failure",
    "Discard": "distq.tasks.control",
    "DistqError": "distq.core.errors",
    "EmbeddedMaster": "distq.managers",
    "ExtraMissing": "distq.client.unsendable",
    "FrameTooLarge": "distq.wire.errors",
    "FutureOfParent": "distq.client.future",
    "Interrupted": "distq.tasks.control",
    "Lifespan": "distq.tasks.lifespan",
    "LifespanUnusable": "distq.tasks.lifespan",
    "NoSlotLeft": "distq.client.inside_task",
    "NotATask": "distq.tasks.function",
    "NotAdmitted": "distq.client.master_connection",
    "NotInTask": "distq.tasks.current",
    "NotPicklable": "distq.client.unsendable",
    "PayloadTooLarge": "distq.core.errors",
    "Progress": "distq.tasks.current",
    "QueueFull": "distq.core.errors",
    "QueueManager": "distq.managers",
    "RefusedSubmit": "distq.client.refusals",
    "RemoteRefusal": "distq.wire.errors",
    "ResultNotSent": "distq.tasks.failure",
    "ResultRefused": "distq.tasks.failure",
    "EncryptionUnavailable": "distq.tasks.seal",
    "ResultUnreadable": "distq.tasks.failure",
    "Retry": "distq.tasks.control",
    "Scheduled": "distq.client.encoder",
    "Settings": "distq.settings",
    "SettingsError": "distq.settings",
    "Snooze": "distq.tasks.control",
    "Submitter": "distq.client.submitter",
    "TaskCancelled": "distq.tasks.cancelled",
    "TaskError": "distq.tasks.task_error",
    "TaskExists": "distq.core.errors",
    "TaskExpired": "distq.tasks.failure",
    "TaskFailed": "distq.tasks.failure",
    "TaskFuture": "distq.client.future",
    "TaskLost": "distq.tasks.failure",
    "TaskPartsGone": "distq.tasks.failure",
    "TaskStopped": "distq.tasks.failure",
    "TaskUnknown": "distq.tasks.failure",
    "TasksFull": "distq.core.errors",
    "TimeLimitExceeded": "distq.tasks.failure",
    "TooManyCalls": "distq.client.chains",
    "TooManyNames": "distq.core.errors",
    "TwoTasks": "distq.tasks.function",
    "ValueUnreadable": "distq.tasks.by_value",
    "WireError": "distq.wire.errors",
    "WrongLoop": "distq.client.aio.owner",
    "call": "distq.tasks.call",
    "current": "distq.tasks.current",
    "injected": "distq.tasks.lifespan",
    "lifespan": "distq.tasks.lifespan",
    "progress": "distq.client.progress.waiting",
    "task": "distq.tasks.function",
}


def __getattr__(name: str) -> object:
    if name in _HOMES:
        import importlib  # noqa: PLC0415 - a service can handle SIGTERM sooner

        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
