"""The errors that futures raise for their tasks, and the bytes in which an executor sends an exception."""

from __future__ import annotations

import itertools
import os
import pickle
import traceback
from collections.abc import Callable
from io import BytesIO
from typing import Any, Final

from distq.core.failure import EXCEPTION_PROTOCOL, Failure, pack_exception, read_failure
from distq.core.states import CANCELLED, DEAD, EXPIRED
from distq.tasks.control import Interrupted
from distq.tasks.sealed import content_of
from distq.tasks.signals import raised_by_handler
from distq.tasks.task_error import TaskError
from distq.wire.errors import NoSuchTask

TEXT_CHARS_MAX: Final = 2_000
"""Maximum characters of an exception's text in a failure; the rest is cut."""
TRACEBACK_CHARS_MAX: Final = 60_000
"""Maximum characters of a traceback in a failure; the beginning is cut, because its end names the error."""
PICKLED_BYTES_MAX: Final = 64_000
"""Maximum bytes of a pickled exception; a larger one is not sent, and its future raises TaskFailed."""
WHY_CHARS_MAX: Final = 300
"""Maximum characters of the error for which an exception could not be sent as itself."""
CAUSE_CHARS_MAX: Final = 160
"""Maximum characters of an exception's text in a task's history."""
CALLERS: Final = tuple(f"{os.path.dirname(os.path.dirname(__file__))}/{part}/" for part in ("tasks", "worker"))  # noqa: PTH120 - pathlib costs an executor's start 4 ms
"""The folders of the code that calls a task's function: their frames are not part of its traceback."""
CANCELLED_ERROR: Final = ("concurrent.futures._base", "CancelledError")
"""The module and name of the error that `result()` raises for a cancelled future."""


class TaskFailed(TaskError):
    """The task failed, with an exception that this program cannot rebuild, or without one."""

    code = "TASK_FAILED"

    def __init__(self, kind: str, text: str, remote_traceback: str = "", why: str = "") -> None:
        said = f"{kind}: {text}" if text else kind
        super().__init__(f"{said} (not raised as its own type, because {why})" if why else said)
        self.kind = kind
        """The exception's type, as `module:qualname`, or a word such as `lost`."""
        self.text = text
        self.remote_traceback = remote_traceback
        """The traceback in the executor, as text; '' if there was none."""
        self.why = why
        """Why the exception was not raised as its own type, in words that follow "because"; '' if there was none."""

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the error by its parts; programs of earlier versions read three."""
        parts = self.kind, self.text, self.remote_traceback
        return TaskFailed, ((*parts, self.why) if self.why else parts)


class ResultNotSent(TaskError):
    """The task ran to its end, but its executor could not send the result; the task is not run again."""

    code = "RESULT_NOT_SENT"
    hint = "What the task did is done. Return plain values, or a reference (a path, a key) to what is large."

    def __init__(self, why: str) -> None:
        super().__init__(f"The task had run, but its result {why}.")
        self.why = why

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the error by the argument of its constructor."""
        return ResultNotSent, (self.why,)


class ResultUnreadable(TaskError):
    """The task succeeded, and its result cannot be unpickled in this program."""

    code = "RESULT_UNREADABLE"
    hint = "See that the result's class can be imported here, in the version that the worker has."


class ResultRefused(TaskError):
    """The task has ended, and this client does not read what the master sends as its result.

    It is not signed, not with a key that the client has, or not for this task; or it is encrypted or pickled, and the
    client cannot or must not read that. Nothing of it was unpickled.
    """

    code = "RESULT_REFUSED"
    hint = "Give clients and workers the same DISTQ_SIGNING_KEY, DISTQ_ENCRYPTION_KEY and DISTQ_ACCEPT."


class DependencyUnreadable(ResultUnreadable):
    """The result of a dependency cannot be unpickled where the task runs; the task is not run again."""

    code = "DEPENDENCY_UNREADABLE"
    hint = "See that every worker of the queue can import the result's class, in the same version."


class TaskLost(TaskError):
    """The master that accepted the task ended without storing it, so its outcome is unknown."""

    code = "TASK_LOST"
    hint = "Use a durable store (DISTQ_STORE) to keep tasks over restarts, or submit it again."


class TaskUnknown(TaskLost):
    """The master has no task of this id, so its outcome is unknown."""

    code = "TASK_UNKNOWN"
    hint = NoSuchTask.hint


class TaskPartsGone(TaskLost):
    """The master no longer keeps a value that the task has yielded."""

    code = "TASK_PARTS_GONE"
    hint = "Read a stream while its task runs, or soon after: parts are kept as its result is (DISTQ_RESULT_TTL_S)."


class TaskExpired(TaskError):
    """The task expired before an executor could begin it."""

    code = "TASK_EXPIRED"


class TimeLimitExceeded(TaskError):
    """The task ran longer than its time limit; the executor first raises this in the task, so that it can clean up."""

    code = "TIME_LIMIT_EXCEEDED"
    hint = "Give the task a longer time_limit, or make it shorter."


class TaskStopped(TaskError):
    """The executor raises this in a task that was cancelled while it runs, so that it can clean up."""

    code = "TASK_STOPPED"


def is_interruption(error: BaseException) -> bool:
    """Whether the executor, a signal handler or Ctrl-C raised an exception, in code that did nothing wrong.

    Such an exception may be raised at any instant, and is never an outcome of the code that it interrupts.
    """
    kinds = Interrupted, TaskStopped, TimeLimitExceeded, KeyboardInterrupt
    return isinstance(error, kinds) or raised_by_handler(error)


class RemoteTraceback(Exception):
    """Carries the executor's traceback as the cause of a task's exception."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text

    def __str__(self) -> str:
        return f"\n{self.text}"


def _dump(error: BaseException) -> bytes:
    return pickle.dumps(error, EXCEPTION_PROTOCOL)


def pack_failure(error: BaseException, dump: Callable[[BaseException], bytes] = _dump) -> bytes:
    """The bytes of an exception, which `dump` pickles, with its traceback as text."""
    return _packed(error, text_of(error), traceback_of(error), dump)


def pack_overrun(text: str, stack: str) -> bytes:
    """The failure bytes of an attempt whose executor was killed at its time limit; `stack` is the attempt's stack."""
    return _packed(TimeLimitExceeded(text), text, stack)


def _packed(error: BaseException, text: str, stack: str, dump: Callable[[BaseException], bytes] = _dump) -> bytes:
    kind = f"{type(error).__module__}:{type(error).__qualname__}"
    pickled, why = _pickled(error, dump)
    return pack_exception(Failure(kind, text[:TEXT_CHARS_MAX], stack[-TRACEBACK_CHARS_MAX:], pickled, why))


def overrun_text(limit_s: float) -> str:
    """The text for an attempt that exceeded its time limit."""
    return f"exceeded time limit {limit_s:g} s"


def unpack_failure(body: bytes) -> Failure:
    """Read the bytes of a failure; other bytes become a failure that says so."""
    try:
        return read_failure(content_of(body), pickle.loads)
    except Exception as error:  # bytes of another version or program
        if is_interruption(error):
            raise
        return Failure("unreadable", f"the failure cannot be read here: {error}")


class _TextReader(pickle.Unpickler):
    """Reads texts and bytes; it imports and calls nothing."""

    def find_class(self, module: str, name: str, /) -> Any:
        """Refuse a class."""
        raise pickle.UnpicklingError(f"it has {module}.{name} in it, which is not read")


def failure_as_text(body: bytes, why: str) -> Failure:
    """A failure of which nothing is imported, called or rebuilt: its texts, and why it has no exception."""
    try:
        failure = read_failure(content_of(body), lambda pickled: _TextReader(BytesIO(pickled)).load())
    except Exception as error:  # noqa: BLE001 - any bytes may have come
        failure = Failure("unreadable", f"the failure cannot be read here: {error}")
    kind, text, lines = (str(part) for part in failure[:3])
    return Failure(kind, text, lines, None, why)


def exception_of(body: bytes | None, causes: list[str] | None, why_as_text: str = "") -> BaseException:
    """The exception that a dead task's future raises: the task's own where it can be rebuilt, else TaskFailed.

    With `why_as_text` nothing of it is unpickled, and TaskFailed gives that reason. Raises SealRefused for an encrypted
    one.
    """
    if not body:
        return TaskFailed("lost", "; ".join(causes or ()) or "the task was given up")
    failure = failure_as_text(body, why_as_text) if why_as_text else unpack_failure(content_of(body))
    error, why = None, failure.why_not_pickled
    if failure.pickled is not None:
        try:
            loaded = pickle.loads(failure.pickled)
            error = loaded if isinstance(loaded, BaseException) else None
        except BaseException as unreadable:
            if is_interruption(unreadable):
                raise
            why = f"it cannot be rebuilt here: {describe(unreadable)[:WHY_CHARS_MAX]}"
    if error is None or ends_programs(error):
        error = TaskFailed(failure.kind, failure.text, failure.remote_traceback, why)
    error.__cause__ = RemoteTraceback(failure.remote_traceback) if failure.remote_traceback else None
    return error


def error_of(state: int, body: bytes | None, causes: list[str] | None, why_as_text: str = "") -> BaseException:
    """The exception for a task that has ended in that state, which is not success; as `exception_of`."""
    if state == DEAD:
        return exception_of(body, causes, why_as_text)
    if state == CANCELLED:
        from distq.tasks.cancelled import TaskCancelled  # noqa: PLC0415 - see there

        return TaskCancelled(f"the task was cancelled: {causes[-1]}." if causes else "the task was cancelled.")
    if state == EXPIRED:
        return TaskExpired("the task expired before it could run.")
    return TaskUnknown("the master does not know the task any more.")


def ends_programs(error: BaseException) -> bool:
    """Whether an exception, meant for the task only, would end, cancel or exhaust a program that raises it again."""
    if isinstance(error, BaseExceptionGroup):
        return not isinstance(error, Exception) or any(map(ends_programs, error.exceptions))
    if not isinstance(error, Exception) or isinstance(error, StopIteration | StopAsyncIteration):
        return True
    # By its name: an executor starts faster that does not import concurrent.futures.
    return any((one.__module__, one.__name__) == CANCELLED_ERROR for one in type(error).__mro__)


def cause_of(error: BaseException) -> str:
    """An exception in one line, with at most `CAUSE_CHARS_MAX` characters of its text, for a task's history."""
    return _with_type(error, _one_line(error)[:CAUSE_CHARS_MAX])


def describe(error: BaseException) -> str:
    """An exception in one line without a full stop: its type, and its text if it has one."""
    return _with_type(error, _one_line(error).rstrip("."))


def _one_line(error: BaseException) -> str:
    """The text of an exception in one line."""
    return " ".join(text_of(error).split())


def _with_type(error: BaseException, text: str) -> str:
    name = type(error).__name__
    return f"{name}: {text}" if text else name


def _pickled(error: BaseException, dump: Callable[[BaseException], bytes]) -> tuple[bytes | None, str]:
    """The pickled exception, and why there is none."""
    if ends_programs(error):
        return None, "it would end, cancel or exhaust this program"
    try:
        pickled = dump(error)
    except BaseException as failed:  # noqa: BLE001 - the user's __reduce__, which may also call sys.exit()
        return None, f"it cannot be pickled: {describe(failed)[:WHY_CHARS_MAX]}"
    if len(pickled) > PICKLED_BYTES_MAX:
        return None, f"its pickle has {len(pickled):,} bytes, and {PICKLED_BYTES_MAX:,} are allowed"
    try:  # many exceptions pickle and then cannot be rebuilt (a constructor with other arguments): look now
        loaded = pickle.loads(pickled)
    except BaseException as failed:  # noqa: BLE001 - as above
        return None, f"it cannot be rebuilt from its args: {describe(failed)[:WHY_CHARS_MAX]}"
    return (pickled, "") if isinstance(loaded, BaseException) else (None, "its pickle is no exception")


def traceback_of(error: BaseException) -> str:
    """The traceback of an exception as text, from the task's function on; also if the exception's own methods raise."""
    try:
        found = traceback.TracebackException.from_exception(error)
        _begin_at_the_function(found)
        return "".join(found.format())
    except BaseException:  # noqa: BLE001 - an exception whose own __str__ raises, also SystemExit
        return "".join(traceback.format_tb(error.__traceback__))


def _begin_at_the_function(found: traceback.TracebackException | None) -> None:
    """Remove the frames of the executor from the beginning of a traceback, of its causes and of those of a group."""
    while found is not None:
        own = itertools.takewhile(lambda frame: frame.filename.startswith(CALLERS), found.stack)
        del found.stack[: len(list(own))]
        for member in found.exceptions or ():
            _begin_at_the_function(member)
        found = found.__cause__ or found.__context__


def text_of(error: BaseException) -> str:
    """The text of an exception, also if its own methods raise."""
    try:
        return str(error)
    except BaseException:  # noqa: BLE001 - its __str__ is the user's code
        return "(its text cannot be had)"
